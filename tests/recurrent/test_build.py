from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from charlm.errors import UsageError
from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import build_layer, build_stack
from charlm.recurrent.cell import RecurrentCell, recurrent_weights
from charlm.recurrent.cells import CELLS, CellKind
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.torch_layers import TorchLayer
from charlm.recurrent.unroll import Unrolled
from charlm.tasks.language_model.config import LanguageModelSection

SIZES = {"input_size": 5, "hidden_size": 4}
PLAIN = {"num_layers": 1, "bidirectional": False, "dropout": 0.0, "weight_dropout": 0.0}

backends = pytest.mark.parametrize("backend", ["scratch", "torch"])


def test_the_table_of_cells():
    names = ["rnn", "rnn-relu", "gru", "gru-reset-before", "lstm", "lstm-peephole", "jordan"]
    names += ["lstm-layernorm", "gru-layernorm"]
    names += ["mogrifier", "mlstm", "mingru", "minlstm"]
    assert [*CELLS] == names
    for name in names:
        fields = CELLS[name].scratch(input_size=1, hidden_size=1).initial_state(1)._fields
        assert CELLS[name].cell_state == ("cell" in fields)
    assert [name for name in names if CELLS[name].torch] == ["rnn", "rnn-relu", "gru", "lstm"]


def test_the_table_is_read_without_torch():
    script = "import sys, charlm.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_registered_cell_is_a_choice_of_the_configuration(monkeypatch):
    with pytest.raises(UsageError, match=r"model.cell is 'mine'"):
        LanguageModelSection(cell="mine", backend="scratch")
    monkeypatch.setitem(CELLS, "mine", CellKind(ElmanCell))
    assert LanguageModelSection(cell="mine", backend="scratch").cell == "mine"
    with pytest.raises(UsageError, match="mine has no torch layer: torch has no such network"):
        LanguageModelSection(cell="mine", backend="torch")


@pytest.mark.parametrize("cell", CELLS)
def test_scratch_layers(cell):
    layer = build_layer(cell, "scratch", **SIZES)
    assert isinstance(layer, Unrolled)
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
    layer = build_layer(cell, "torch", **SIZES)
    assert isinstance(layer, TorchLayer)
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
def test_an_unknown_cell_or_backend_is_named(cell, backend):
    with pytest.raises(ValueError, match=f"no cell {cell!r} with the backend {backend!r}"):
        build_stack(cell, backend, **SIZES, **PLAIN)


def test_a_stack_needs_a_layer():
    with pytest.raises(ValueError, match="a stack needs at least one layer"):
        build_stack("lstm", "torch", **SIZES, **{**PLAIN, "num_layers": 0})


@backends
@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks(backend, bidirectional):
    options = {"num_layers": 3, "bidirectional": bidirectional}
    stack = build_stack("gru", backend, **SIZES, **options, dropout=0.2, weight_dropout=0.1)
    width = 4 * (1 + bidirectional)
    sizes = [(layer.input_size, layer.output_size) for layer in stack.layers]
    assert sizes == [(5, width), (width, width), (width, width)]
    assert (stack.input_size, stack.output_size) == (5, width)
    assert stack.bidirectional == bidirectional
    assert stack.dropout.probability == 0.2
    names = recurrent_weights(stack)
    assert len(names) == 3 * (1 + bidirectional)
    assert all(stack.get_parameter(name).shape[bool(backend == "scratch")] == 12 for name in names)
    for layer in stack.layers:
        assert isinstance(layer, Bidirectional) == bidirectional
        for direction in layer.children() if bidirectional else [layer]:
            assert isinstance(direction, WeightDropout)
            assert direction.probability == 0.1
    (plain,) = build_stack("gru", backend, **SIZES, **PLAIN).layers
    assert not isinstance(plain, WeightDropout)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "mogrifier"])
def test_scratch_layers_make_no_one_hot_vectors(cell, monkeypatch):
    def one_hot(*_):
        raise AssertionError("a one-hot vector was made")

    monkeypatch.setattr(torch.nn.functional, "one_hot", one_hot)
    layer = build_layer(cell, "scratch", input_size=2583, hidden_size=4)
    ids = torch.randint(2583, (6, 3))
    outputs, _ = layer(ids, layer.initial_state(3))
    outputs.sum().backward()
    rows = layer.cell.weight_input.grad.ne(0).any(1).nonzero().flatten()
    assert set(rows.tolist()) <= set(ids.flatten().tolist())
    # Torch's layers do make one-hot vectors, and the test sees it.
    theirs = build_layer("rnn", "torch", **SIZES)
    with pytest.raises(AssertionError, match="a one-hot vector was made"):
        theirs(ids % 5, theirs.initial_state(3))
