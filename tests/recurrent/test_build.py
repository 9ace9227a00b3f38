from __future__ import annotations

import pytest
import torch
from torch import nn

from charlm.config import CELLS
from charlm.models.language_model import LanguageModel
from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import SCRATCH, TORCH, build_layer, build_stack
from charlm.recurrent.core import RecurrentCell, RecurrentLayer, map_state
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.torch_layers import TorchLayer
from charlm.recurrent.unroll import Unrolled


def test_the_configuration_knows_the_cells():
    assert tuple(SCRATCH) == CELLS
    assert TORCH.keys() < SCRATCH.keys()
    assert SCRATCH.keys() - TORCH.keys() == {"gru-reset-before", "lstm-peephole", "jordan"}


@pytest.mark.parametrize("cell", SCRATCH)
def test_scratch_layers(cell):
    layer = build_layer(cell, "scratch", 5, 4)
    assert isinstance(layer, Unrolled)
    assert isinstance(layer, RecurrentLayer)
    assert isinstance(layer.cell, RecurrentCell)
    assert (layer.input_size, layer.output_size) == (5, 4)


@pytest.mark.parametrize(
    ("cell", "kind", "nonlinearity"),
    [
        ("rnn", nn.RNN, "tanh"),
        ("rnn-relu", nn.RNN, "relu"),
        ("gru", nn.GRU, None),
        ("lstm", nn.LSTM, None),
    ],
)
def test_torch_layers(cell, kind, nonlinearity):
    layer = build_layer(cell, "torch", 5, 4)
    assert isinstance(layer, TorchLayer)
    assert isinstance(layer, RecurrentLayer)
    assert isinstance(layer.network, kind)
    assert getattr(layer.network, "nonlinearity", None) == nonlinearity
    assert (layer.input_size, layer.output_size) == (5, 4)


@pytest.mark.parametrize(
    ("cell", "backend"),
    [
        ("gru-reset-before", "torch"),
        ("jordan", "torch"),
        ("lstm-peephole", "torch"),
        ("transformer", "scratch"),
        ("", "scratch"),
        ("LSTM", "torch"),
        ("lstm", "numpy"),
    ],
)
def test_what_is_unknown_is_refused_by_name(cell, backend):
    message = f"no cell {cell!r} with the backend {backend!r}"
    with pytest.raises(ValueError, match=message):
        build_layer(cell, backend, 5, 4)
    with pytest.raises(ValueError, match=message):
        build_stack(cell, backend, input_size=5, hidden_size=4)
    with pytest.raises(ValueError, match=message):
        LanguageModel(7, cell=cell, backend=backend, hidden_size=4)


@pytest.mark.parametrize("backend", ["scratch", "torch"])
def test_stacks(backend):
    stack = build_stack(
        "gru", backend, input_size=5, hidden_size=4, num_layers=3, dropout=0.2, weight_dropout=0.1
    )
    assert [type(layer) for layer in stack.layers] == [WeightDropout] * 3
    assert [layer.probability for layer in stack.layers] == [0.1] * 3
    assert [(layer.input_size, layer.output_size) for layer in stack.layers] == [
        (5, 4),
        (4, 4),
        (4, 4),
    ]
    assert stack.dropout.probability == 0.2
    plain = build_stack("gru", backend, input_size=5, hidden_size=4)
    assert len(plain.layers) == 1
    assert not isinstance(plain.layers[0], WeightDropout)


@pytest.mark.parametrize("backend", ["scratch", "torch"])
def test_stacks_that_read_both_ways(backend):
    stack = build_stack(
        "gru",
        backend,
        input_size=5,
        hidden_size=4,
        num_layers=3,
        bidirectional=True,
        weight_dropout=0.1,
    )
    assert [type(layer) for layer in stack.layers] == [Bidirectional] * 3
    sizes = [(layer.input_size, layer.output_size) for layer in stack.layers]
    assert sizes == [(5, 8), (8, 8), (8, 8)]
    assert stack.output_size == 8
    for layer in stack.layers:
        for direction in (layer.forward_layer, layer.backward_layer):
            assert isinstance(direction, WeightDropout)
            assert direction.probability == 0.1
            assert direction.output_size == 4


def test_parameters_of_a_whole_classifier():
    """As Keras counts them, which has one bias for each gate too."""
    layers = [
        nn.Embedding(10_000, 32),
        build_stack("lstm", "scratch", input_size=32, hidden_size=64, bidirectional=True),
        nn.Linear(2 * 64, 64),
        nn.Linear(64, 1),
    ]
    assert sum(tensor.numel() for layer in layers for tensor in layer.parameters()) == 377_985


@pytest.mark.parametrize("cell", SCRATCH)
def test_scratch_layers_make_no_one_hot_vectors(cell, monkeypatch):
    def one_hot(*_):
        raise AssertionError("a one-hot vector was made")

    monkeypatch.setattr(torch.nn.functional, "one_hot", one_hot)
    model = LanguageModel(2583, cell=cell, backend="scratch", hidden_size=4)
    ids = torch.randint(2583, (6, 3))
    logits, state = model(ids, model.initial_state(3))
    logits.sum().backward()
    assert logits.shape == (6, 3, 2583)
    assert map_state(torch.isfinite, state)[0][0].all()
    rows = model.stack.layers[0].cell.weight_input.grad.ne(0).any(1).nonzero().flatten()
    assert set(rows.tolist()) <= set(ids.flatten().tolist())
    # The test would see one: torch's layers do make them.
    theirs = LanguageModel(5, cell="rnn", backend="torch", hidden_size=4)
    with pytest.raises(AssertionError, match="a one-hot vector was made"):
        theirs(ids % 5, theirs.initial_state(3))
