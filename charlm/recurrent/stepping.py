"""The weights and states of recurrent layers as plain arrays, for the compiled step.

The step is `charlm.recurrent.stepping_numba.step`. All weights lie in one array, so that it is
compiled once for all models.

Symbols in shapes: L layers, B rows, V tokens, E embedding, I input, H hidden, O output, G gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.recurrent.cell import ACTIVATIONS, RecurrentCell
from charlm.recurrent.cells import CELLS
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.stack import Stack, WeightDropout
from charlm.recurrent.states import StackState
from charlm.recurrent.torch_layers import TorchLayer, torch_weights
from charlm.recurrent.unroll import Unrolled

Floats = NDArray[np.float32]

RNN, RNN_RELU, GRU, GRU_RESET_BEFORE, LSTM, LSTM_PEEPHOLE, JORDAN = range(7)
_MODES = {"RNN_TANH": "rnn", "RNN_RELU": "rnn-relu", "GRU": "gru", "LSTM": "lstm"}
LINE = 16  # floats in a line of the cache, where each weight matrix begins


class Weights(NamedTuple):
    """The weights of a stack of layers whose inputs are token ids, or vectors."""

    # (L, 6): kind of cell, G, I, H, O, and whether the input of the layer is added to its output.
    # I is the part of the input that comes from the tokens: V, or E where it is vectors; 0: none.
    layers: NDArray[np.int64]
    values: Floats  # all weights in the order in which `step` reads them


def stack_weights(
    stack: Stack, embedding: Tensor | None, *, vectors: bool = False
) -> Weights | None:
    """Copies of a stack's weights; None: `step` has no form of its cells.

    Args:
        stack: on the CPU, in float32.
        embedding: (V, E) vectors of the token ids, which the layers read; None: one-hot.
        vectors: they read vectors that `step` is given, not token ids.
    """
    layers: list[tuple[int, ...]] = []
    values: list[Tensor] = []
    below = 0  # outputs of the layer below
    for layer in stack.layers:
        cell, named = cell_and_weights(layer)
        kind = _kind(cell)
        if kind is None:
            return None
        bias = named["bias"]
        by_outputs, by_tokens = named["weight_input"].tensor_split([below])
        if vectors or not len(by_tokens):
            values += [bias, by_tokens]
        else:  # a token picks a row: its part of every gate, with the bias
            by_tokens = (by_tokens if embedding is None else embedding @ by_tokens) + bias
            values.append(by_tokens)
        values.append(by_outputs)
        hidden = named["weight_hidden"]
        size = cell.hidden_size
        gates = len(bias) // size
        if kind == GRU:
            values.append(nn.functional.pad(named["bias_candidate"], (2 * size, 0)))
        values += hidden.tensor_split([2 * size], 1) if kind == GRU_RESET_BEFORE else [hidden]
        adds = stack.residual and below == cell.output_size
        layers.append((kind, gates, len(by_tokens), size, cell.output_size, adds))
        below = cell.output_size
        if kind == JORDAN:
            values += [named["bias_output"], named["weight_output"]]
        if kind == LSTM_PEEPHOLE:
            names = ("peephole_input", "peephole_forget", "peephole_output")
            values.append(torch.cat([named[name] for name in names]))
    return Weights(np.array(layers), _joined(values))


def state_array(state: StackState) -> Floats:
    """The states of all layers, (B, ...) each, in the order in which `step` reads them."""
    return _joined([part for layer in state for part in layer])


def _joined(parts: list[Tensor]) -> Floats:
    """All numbers in one array, in which each part begins a new line of the cache."""
    padded = [nn.functional.pad(each.flatten(), (0, -each.numel() % LINE)) for each in parts]
    return torch.cat(padded).numpy()


def cell_and_weights(layer: nn.Module) -> tuple[Any, Mapping[str, Tensor]]:
    """The cell of a layer and its weights by the names of the scratch cell; or None and nothing.

    The weights of the cell itself may be without numbers.
    """
    if isinstance(layer, WeightDropout):
        return cell_and_weights(layer.layer)
    if isinstance(layer, TorchLayer):
        network = layer.network
        with torch.device("meta"):  # a cell without numbers, which only renames the weights
            kind = CELLS[_MODES[network.mode]]
            cell = kind.scratch(input_size=network.input_size, hidden_size=network.hidden_size)
        return cell, cell.from_torch(torch_weights(network, "l0"))
    cell = layer.cell if isinstance(layer, Unrolled) else None
    return cell, dict(cell.named_parameters()) if cell else {}


def _kind(cell: RecurrentCell[Any] | None) -> int | None:
    """The number of a cell's compiled step; None: there is none."""
    if cell is None or "step" in vars(cell):  # another step was put in place of the class's
        return None
    tanh = getattr(cell, "_activation", torch.tanh) is ACTIVATIONS["tanh"]
    if type(cell) is ElmanCell:
        relu = cell._activation is ACTIVATIONS["relu"]
        return RNN if tanh else RNN_RELU if relu else None
    if type(cell) is GRUCell:
        return GRU_RESET_BEFORE if cell.reset == "before" else GRU
    if type(cell) is LSTMCell and tanh:
        return LSTM_PEEPHOLE if cell.peepholes else LSTM
    return JORDAN if type(cell) is JordanCell and tanh else None
