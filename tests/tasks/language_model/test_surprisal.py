"""Surprisal, held to scores of other parts of the package."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlm.corpus.vocabulary import Vocabulary
from charlm.errors import Stopped
from charlm.tasks.language_model import surprisal as module
from charlm.tasks.language_model.baselines import best_order
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.perplexity import character_nats
from charlm.tasks.language_model.surprisal import count_ngrams, surprisal

TEXT = "the cat sat on the mat, and the dog sat on the cat"
VOCABULARY = Vocabulary.from_text(TEXT)
IDS = VOCABULARY.encode(TEXT)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_language_model(LanguageModelSection(hidden_size=7), len(VOCABULARY))


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_bits_are_those_of_the_scores(model, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    found = surprisal(model, VOCABULARY, IDS, TEXT, count_ngrams(IDS[:30], VOCABULARY))
    assert found.text == TEXT
    assert math.isnan(found.bits[0])
    expected = character_nats(model.eval(), IDS) / math.log(2)
    np.testing.assert_allclose(found.bits[1:], expected, rtol=1e-5)
    _, ngram = best_order(IDS[:30], IDS, len(VOCABULARY))
    np.testing.assert_allclose(found.ngram[1:], ngram / math.log(2), rtol=1e-12)


def test_likely_characters_are_the_most_probable_ones(model):
    found = surprisal(model, VOCABULARY, IDS, TEXT, None)
    assert found.ngram is None
    with torch.no_grad():
        logits, _ = model.eval()(torch.from_numpy(IDS[:-1]).unsqueeze(1), model.initial_state(1))
    probabilities = logits[:, 0].softmax(1)
    for place in range(1, len(IDS)):
        order = probabilities[place - 1].sort(descending=True)
        assert found.likely[place].tolist() == order.indices[: module.LIKELY].tolist()
        np.testing.assert_allclose(
            found.probabilities[place], order.values[: module.LIKELY], rtol=1e-5
        )


def test_an_unknown_character_costs_its_spelling(model):
    text = "the c\u00e9t"
    ids = VOCABULARY.encode(text)
    found = surprisal(model, VOCABULARY, ids, text, count_ngrams(IDS, VOCABULARY))
    plain = character_nats(model.eval(), ids) / math.log(2)
    spelled = found.bits[1:] - plain
    assert spelled[4] == pytest.approx(VOCABULARY.spelling_nats / math.log(2), rel=1e-5)
    assert np.delete(spelled, 4) == pytest.approx(0, abs=1e-5)


def test_most_leaves_out_the_first_character_and_a_stop_ends_it(model):
    found = surprisal(model, VOCABULARY, IDS, TEXT, None)
    places = found.most(found.bits, 3)
    assert places == np.argsort(-found.bits[1:])[:3].tolist() or len({*places}) == 3
    assert found.bits[places].tolist() == sorted(found.bits[1:])[::-1][:3]
    assert len(found.most(found.bits, 1000)) == len(TEXT) - 1
    with pytest.raises(Stopped):
        surprisal(model, VOCABULARY, IDS, TEXT, None, should_stop=lambda: True)
