"""How much context a prediction uses, on models whose memory is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from charlm.errors import Stopped
from charlm.tasks.language_model import context as module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.context import context
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.perplexity import character_nats

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, 300))


def model_of(**settings):
    torch.manual_seed(0)
    return build_language_model(LanguageModelSection(hidden_size=12, **settings), 9)


def test_the_bits_are_those_of_the_scores(monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 30)
    model = model_of(num_layers=2, skip=True)
    found = context(model, IDS, distances=(1, 4, 29, 30), positions=20)
    assert (found.length, found.positions, found.distances) == (30, 20, [1, 4, 29])
    ends = np.linspace(30, 299, 20).round().astype(int)
    for k, expected in ((30, found.whole), *zip(found.distances, found.cut, strict=True)):
        bits = [character_nats(model.eval(), IDS[end - k : end + 1].numpy())[-1] for end in ends]
        assert expected == pytest.approx(np.mean(bits) / math.log(2), rel=1e-5)


def test_a_model_without_memory_needs_one_character():
    model = model_of(cell="rnn", backend="scratch", weight_dropout=0.0)
    with torch.no_grad():
        model.stack.layers[0].cell.weight_hidden.zero_()
    found = context(model.eval(), IDS)
    assert found.cut == pytest.approx([found.whole] * len(found.distances))
    assert found.shuffled == pytest.approx(found.cut)
    assert found.enough == 1


def test_shuffling_keeps_the_characters_and_the_last_ones():
    """A model that sums its inputs does not notice the order; others do."""
    found = context(model_of(), IDS, distances=(1, 149))
    assert found.distances == [1]
    assert found.shuffled != pytest.approx(found.cut, rel=1e-6)
    again = context(model_of(), IDS, distances=(1,))
    assert again == context(model_of(), IDS, distances=(1,))
    assert again.shuffled != context(model_of(), IDS, distances=(1,), seed=1).shuffled


def test_short_texts_and_a_stop():
    found = context(model_of(), IDS[:3])
    assert (found.length, found.distances, found.enough) == (1, [], None)
    with pytest.raises(ValueError, match="three characters"):
        context(model_of(), IDS[:2])
    with pytest.raises(Stopped):
        context(model_of(), IDS, should_stop=lambda: True)
