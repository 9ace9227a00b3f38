"""Units that track something, on texts and values with a known structure."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from charlm.recurrent.states import map_state
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.features import Feature
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.recording import Unit
from charlm.tasks.language_model.units import (
    BINS,
    ENDS,
    explained,
    find_units,
    look_at,
    untrained_model,
)

LETTERS, LINE = "abcde", 20
PLANTED = {"inside quotes", "inside brackets", "place in the line"}


def planted(length, seed):
    """Letters that follow each other in a ring: backwards in quotes, every second in brackets.

    Lines have 20 characters. Quotes and brackets have 6 to 29 letters, and no other sign.
    """
    generator = np.random.default_rng(seed)
    text, place, inside, left, last = [], 0, "", 0, None
    while len(text) < length:
        if place == LINE:
            each, place, last = "\n", -1, None
        elif not inside and generator.random() < 0.1:
            each = inside = str(generator.choice(['"', '"', "("]))
            left, last = int(generator.integers(6, 30)), None
        elif inside and left == 0:
            each, inside, last = {'"': '"', "(": ")"}[inside], "", None
        else:
            step = {"": 1, '"': -1, "(": 2}[inside]
            last = int(generator.integers(5)) if last is None else (last + step) % 5
            each, left = LETTERS[last], left - 1
        text.append(each)
        place += 1
    return "".join(text)


def shuffled(text):
    return "".join(np.random.default_rng(0).permutation([*text]))


def trained(text, steps):
    """An LSTM of 32 units after some updates, one without, and ids of a text."""
    config = LanguageModelSection(
        cell="lstm", backend="torch", hidden_size=32, embedding="one-hot", weight_dropout=0.0
    )
    vocabulary = sorted(set(text))
    bare = untrained_model(config, len(vocabulary))
    # With some other seeds one unit tracks quotes and brackets, so it costs at both.
    torch.manual_seed(9)
    model = build_language_model(config, len(vocabulary))
    ids = torch.tensor([vocabulary.index(each) for each in text])
    rows = ids[: len(ids) // 16 * 16].view(16, -1).T
    optimiser = torch.optim.Adam(model.parameters())
    begin, state = 0, model.initial_state(16)
    for step in range(steps):
        if begin + 65 > len(rows):
            begin, state = 0, model.initial_state(16)
        optimiser.param_groups[0]["lr"] = 0.015 * (1 - step / steps)
        part = rows[begin : begin + 65]
        loss, state = model.loss(part[:-1], part[1:], state)
        state = map_state(torch.Tensor.detach, state)
        optimiser.zero_grad()
        (loss / part[1:].numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        begin += 64
    return model, bare, lambda text: torch.tensor([vocabulary.index(each) for each in text])


@pytest.mark.slow
def test_planted_structure_is_found_and_matters_and_a_shuffled_text_has_none():
    text, held_out = planted(100_000, 0), planted(8192, 99)
    model, bare, encode = trained(text, 2000)
    found = find_units(model, bare, encode(held_out), held_out)
    named = {each.feature.name: each for each in found.named}
    assert named.keys() >= PLANTED
    assert {each.feature.name for each in found.named if not each.feature.instant} == PLANTED
    for each in (named[name] for name in PLANTED):
        assert each.share > max(0.35, each.untrained + 0.15)
        assert each.cost.there > max(0.05, 2 * each.cost.elsewhere)
    assert named["inside brackets"].cost.matters
    assert named["place in the line"].cost.matters
    # The last places of a line, where the line end must be predicted.
    place = named["place in the line"]
    assert place.speaks == len(place.feature.labels) - 1
    assert place.cost.there > 10 * place.cost.elsewhere
    assert place.chance < 0.05
    # What reads a shuffled text after learning from one tracks nothing.
    text, held_out = shuffled(text), shuffled(held_out)
    model, bare, encode = trained(text, 600)
    assert not find_units(model, bare, encode(held_out), held_out).named


def share_by_hand(values, classes, half):
    """`explained` of one unit in one half, in plain Python."""
    edges = np.quantile(values[: len(values) // 2], ENDS)
    pairs = [(sum(value > edges), label) for value, label in zip(values, classes, strict=True)]
    pairs = pairs[len(pairs) // 2 :] if half else pairs[: len(pairs) // 2]

    def entropy(items):
        shares = np.array([*Counter(items).values()]) / len(items)
        return -(shares * np.log(shares)).sum()

    bins, labels = zip(*pairs, strict=True)
    bias = (BINS - 1) * (len(set(labels)) - 1) / (2 * len(pairs))
    information = entropy(bins) + entropy(labels) - entropy(pairs) - bias
    return max(0.0, information) / entropy(labels)


def test_the_share_of_the_entropy_is_that_by_hand():
    generator = np.random.default_rng(0)
    two, four = generator.integers(0, 2, 4000), generator.integers(0, 4, 4000)
    noise = generator.normal(size=(4000, 3)).astype(np.float32)
    values = noise + np.stack([two, four, 0 * two], axis=1) * 2
    every = [Feature("two", two, ("no", "yes")), Feature("four", four, tuple("0123"))]
    halves = explained(values, every)
    for half, shares in enumerate(halves):
        for unit in range(3):
            for number, feature in enumerate(every):
                expected = share_by_hand(values[:, unit], feature.classes, half)
                assert shares[unit, number] == pytest.approx(expected, abs=1e-6)
    assert halves[1][2].max() < 0.005  # noise
    exact = explained(two[:, None].astype(np.float32), every[:1])
    assert exact[1][0, 0] == pytest.approx(1, abs=0.01)


def test_a_network_without_training_tracks_nothing_and_one_unit_can_be_looked_at():
    text = planted(3000, 1)
    model, bare, encode = trained(text, 0)
    state = torch.get_rng_state()
    found = find_units(model, bare, encode(text), text)
    assert not found.named
    assert (torch.get_rng_state() == state).all()
    best = found.found[0]
    look = look_at(model, encode(text), text, best.unit, value=0.5)
    assert best.feature.name in {feature.name for feature, share in look.known if share > 0.1}
    assert look.cost.held_at == 0.5
    assert look.places.sum() > 0
    assert look.words
    plain = "a" * 3000
    none = look_at(model, encode(plain), plain, Unit(1, "cell", 3))
    assert (none.known, none.words) == ([], "")
    assert find_units(model, bare, encode(plain), plain).found == []
