"""Texts one character at a time, against `generate_blocks`, and their alternatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.decoding import Decoding, generate_blocks
from charlm.tasks.language_model.mixture import Mixture
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.ngram import NGram
from charlm.tasks.language_model.steps import ALTERNATIVES, BLOCK, steps

SIZE, LENGTH = 20, 30
PREFIX = [1 + number % 7 for number in range(2 * BLOCK + 5)]


@pytest.fixture
def model():
    return build_language_model(LanguageModelSection(hidden_size=8), SIZE).eval()


def mixture():
    ngram = NGram.count(np.array(PREFIX), SIZE, 2)
    return Mixture(ngram=ngram, weights=np.array([0.3, 0.6]), learned_from=len(PREFIX))


@pytest.mark.parametrize("mixed", [None, mixture()], ids=["network", "mixture"])
@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(temperature=0), Decoding(top_k=12, top_p=0.9)], ids=str
)
def test_the_characters_are_those_of_a_text_of_the_same_seed(model, mixed, decoding):
    every = steps(model, PREFIX, decoding=decoding, seed=3, mixture=mixed)
    *read, first = itertools.islice(every, 4)
    assert read == [None] * 3  # a block of the prefix each
    found = [first, *itertools.islice(every, LENGTH - 1)]
    options = {"length": LENGTH, "decoding": decoding, "num_samples": 1, "seed": 3}
    blocks = generate_blocks(model, PREFIX, **options, mixture=mixed)
    assert [step.token for step in found] == torch.cat([*blocks]).flatten().tolist()
    for step in found:
        assert step.token in step.likely
        assert 0 not in step.likely  # <unk> is one of the others
        assert len({*step.likely}) == len(step.likely) in (ALTERNATIVES, ALTERNATIVES + 1)
        assert step.own[:ALTERNATIVES] == sorted(step.own[:ALTERNATIVES], reverse=True)
        assert sum(step.own) < 1
        assert sum(step.drawn) < 1 + 1e-9
        assert step.drawn[step.likely.index(step.token)] > 0


def test_the_shares_are_those_of_the_logits(model):
    decoding = Decoding(temperature=0.5, top_k=3)
    step = next(filter(None, steps(model, PREFIX, decoding=decoding, seed=0)))
    with torch.no_grad():
        logits, _ = model(torch.tensor(PREFIX).unsqueeze(1), model.initial_state(1))
    own, drawn = logits[-1, 0].double().softmax(0), decoding.probabilities(logits[-1])[0]
    torch.testing.assert_close(torch.tensor(step.own).double(), own[step.likely])
    torch.testing.assert_close(torch.tensor(step.drawn).double(), drawn[step.likely])
    assert [share > 0 for share in step.drawn] == [True] * 3 + [False] * 7


def test_a_small_vocabulary_has_fewer_alternatives():
    model = build_language_model(LanguageModelSection(hidden_size=8), 4).eval()
    step = next(filter(None, steps(model, [1], decoding=Decoding(), seed=0)))
    assert sorted(step.likely) == [1, 2, 3]
