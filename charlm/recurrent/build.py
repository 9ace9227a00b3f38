"""From names to layers."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from charlm.recurrent.core import RecurrentCell, RecurrentLayer
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.stack import Stack, WeightDropout
from charlm.recurrent.torch_layers import TorchLayer
from charlm.recurrent.unroll import Unrolled

SCRATCH: dict[str, Callable[[int, int], RecurrentCell]] = {
    "rnn": ElmanCell,
    "rnn-relu": lambda inputs, hidden: ElmanCell(inputs, hidden, "relu"),
    "gru": GRUCell,
    "gru-reset-before": lambda inputs, hidden: GRUCell(inputs, hidden, "before"),
    "lstm": LSTMCell,
}

TORCH: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "rnn": nn.RNN,
    "rnn-relu": lambda inputs, hidden: nn.RNN(inputs, hidden, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


def build_layer(cell: str, backend: str, input_size: int, hidden_size: int) -> RecurrentLayer:
    """One layer of a cell by name, by the equations ("scratch") or by torch ("torch").

    Raises:
        ValueError: the backend has no such cell, or there is no such backend.
    """
    if backend == "scratch" and cell in SCRATCH:
        return Unrolled(SCRATCH[cell](input_size, hidden_size))
    if backend == "torch" and cell in TORCH:
        return TorchLayer(TORCH[cell](input_size, hidden_size))
    raise ValueError(f"no cell {cell!r} with the backend {backend!r}")


def build_stack(
    cell: str,
    backend: str,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    dropout: float = 0.0,
    weight_dropout: float = 0.0,
) -> Stack:
    """Layers of one cell on top of each other.

    Raises:
        ValueError: the backend has no such cell.
    """
    layers = [
        build_layer(cell, backend, input_size if depth == 0 else hidden_size, hidden_size)
        for depth in range(num_layers)
    ]
    if weight_dropout:
        layers = [WeightDropout(layer, weight_dropout) for layer in layers]
    return Stack(layers, dropout)
