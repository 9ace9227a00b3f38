"""The states of a model while it reads a text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlm.errors import Stopped
from charlm.recurrent.states import named_tensors
from charlm.tasks.language_model import recording as module
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.perplexity import character_nats
from charlm.tasks.language_model.recording import Unit, record

IDS = torch.from_numpy(np.random.default_rng(0).integers(1, 9, 103))


def model_of(**settings):
    torch.manual_seed(0)
    settings = {"hidden_size": 6, "num_layers": 2, "backend": "scratch", **settings}
    return build_language_model(LanguageModelSection(**settings), 9).train()


@pytest.mark.parametrize(
    "settings",
    [
        *({"cell": cell} for cell in ("rnn", "jordan", "lstm-layernorm", "mogrifier", "minlstm")),
        {"cell": "lstm", "backend": "torch", "skip": True},
        {"cell": "gru", "residual": True, "dropout": 0.5},
        {"cell": "lstm", "zoneout_hidden": 0.2, "zoneout_cell": 0.3, "ngram_order": 3},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_rows_side_by_side_are_one_row(settings, monkeypatch):
    """The twin: one row, one character at a time."""
    monkeypatch.setattr(module, "SHORTEST", 25)
    model = model_of(**settings)
    found = record(model, IDS)
    assert model.training
    assert found.ids.shape == (26, 4)
    model.eval()
    state, expected = model.initial_state(1), []
    for each in IDS[:100]:
        _, state = model(each.view(1, 1), state)
        expected.append(named_tensors(state[:2]))
    for (layer, part), values in found.values.items():
        one = torch.cat([each[f"{layer - 1}.{part}"] for each in expected]).detach()
        torch.testing.assert_close(torch.from_numpy(values), one, rtol=1e-4, atol=1e-5)
    nats = character_nats(model, IDS[:100].numpy())
    np.testing.assert_allclose(found.nats[:-1], nats, rtol=1e-4, atol=1e-5)
    assert np.isnan(found.nats[-1])


def test_units_have_names():
    found = record(model_of(cell="lstm", num_layers=1), IDS[:30])
    assert {key: part.shape for key, part in found.values.items()} == {
        (1, "hidden"): (30, 6),
        (1, "cell"): (30, 6),
    }
    unit = Unit(1, "cell", 4)
    assert str(unit) == "1.cell.4"
    assert (found.of(unit) == found.values[1, "cell"][:, 4]).all()


def test_a_stop():
    with pytest.raises(Stopped):
        record(model_of(), IDS, should_stop=lambda: True)
