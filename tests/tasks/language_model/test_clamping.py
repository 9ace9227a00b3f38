"""Units that are held at a value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlm.errors import Stopped
from charlm.tasks.language_model import clamping as module
from charlm.tasks.language_model import recording
from charlm.tasks.language_model.clamping import Clamp, clamped_nats, costs
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.recording import Unit, record

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, 80))


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(recording, "SHORTEST", 20)


def model_of(**settings):
    torch.manual_seed(0)
    settings = {"hidden_size": 6, "backend": "scratch", "weight_dropout": 0.0, **settings}
    return build_language_model(LanguageModelSection(**settings), 9)


def by_hand(model, found, row, unit, value):
    """The twin: one row, its layers one after the other, the state changed after each step."""
    ids, layers = found.ids[:, row], model.eval().stack.layers
    state = [type(each)(*(part[row : row + 1] for part in each)) for each in found.starts]
    nats = []
    for step in range(len(ids) - 1):
        xs = model.embedding(ids[step].view(1, 1))
        for number, layer in enumerate(layers):
            xs, after = layer(xs, state[number])
            if number + 1 == unit.layer:
                getattr(after, unit.part)[0, unit.number] = value
                if unit.part in ("hidden", "output"):
                    xs = getattr(after, unit.part).unsqueeze(0)
            state[number] = after
        nats.append(-model.head(xs)[0, 0].log_softmax(0)[ids[step + 1]])
    return torch.stack(nats).detach().double().numpy()


@pytest.mark.parametrize(
    ("cell", "backend", "parts"),
    [
        ("lstm", "torch", ("hidden", "cell")),
        ("lstm-layernorm", "scratch", ("hidden", "cell")),
        ("gru", "scratch", ("hidden",)),
        ("jordan", "scratch", ("output",)),
        ("mingru", "scratch", ("hidden",)),
    ],
)
def test_many_clamps_side_by_side_are_one_after_the_other(cell, backend, parts):
    model = model_of(cell=cell, backend=backend, num_layers=2).requires_grad_(False)
    found = record(model, IDS)
    units = [Unit(layer, part, 2 * layer) for layer in (1, 2) for part in parts]
    clamps = [Clamp(unit, 0.3 * number) for number, unit in enumerate(units)]
    nats = clamped_nats(model, found, [0, 2], clamps)
    assert nats.shape == (len(clamps), 40)
    assert not any(each._forward_hooks for each in model.stack.layers)
    held = module._holding(model, clamps, 2)
    pairs = zip(held.parameters(), model.parameters(), strict=True)
    assert all(one is other for one, other in pairs)
    for clamp, each in zip(clamps, nats, strict=True):
        expected = [by_hand(model, found, row, *clamp) for row in (0, 2)]
        np.testing.assert_allclose(each, np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_a_unit_that_nothing_reads_costs_nothing():
    model = model_of(cell="gru").requires_grad_(False)
    model.head.weight[:, 3] = 0
    model.stack.layers[0].cell.weight_hidden[3] = 0
    found = record(model, IDS)
    places = np.arange(80) % 2 == 0
    idle, busy = costs(model, found, [(Unit(1, "hidden", each), places) for each in (3, 1)])
    assert idle.there == pytest.approx(0, abs=1e-5)
    assert idle.elsewhere == pytest.approx(0, abs=1e-5)
    assert not idle.matters
    assert abs(busy.there) > 1e-4
    assert busy.held_at == pytest.approx(found.values[1, "hidden"][:, 1].mean())
    assert busy.places == 20  # of the second half
    assert busy.random <= busy.most


def test_a_given_value_and_a_feature_that_is_everywhere(monkeypatch):
    model = model_of(cell="lstm")
    found = record(model, IDS)
    unit, everywhere = Unit(1, "cell", 0), np.ones(80, bool)
    (cost,) = costs(model, found, [(unit, everywhere)], value=2.0)
    assert (cost.held_at, cost.places, cost.elsewhere) == (2.0, 39, None)
    assert cost.there == pytest.approx(cost.everywhere)
    (nowhere,) = costs(model, found, [(unit, ~everywhere)], value=2.0)
    assert (nowhere.places, nowhere.there, nowhere.random) == (0, None, None)
    assert not nowhere.matters
    monkeypatch.setattr(module, "CHARACTERS", 20)
    assert costs(model, found, [(unit, everywhere)])[0].places == 20
    with pytest.raises(Stopped):
        costs(model, found, [(unit, everywhere)], should_stop=lambda: True)
