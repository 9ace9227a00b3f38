"""From names to layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.core import RecurrentCell, RecurrentLayer
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.jordan import JordanCell
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
    "lstm-peephole": partial(LSTMCell, peepholes=True),
    "jordan": JordanCell,
}

TORCH: dict[str, Callable[..., nn.RNNBase]] = {
    "rnn": nn.RNN,
    "rnn-relu": partial(nn.RNN, nonlinearity="relu"),
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
    bidirectional: bool = False,
    dropout: float = 0.0,
    weight_dropout: float = 0.0,
) -> Stack:
    """Layers of one cell on top of each other.

    Args:
        bidirectional: whether each layer reads both ways, by ``hidden_size`` units each.

    Raises:
        ValueError: the backend has no such cell.
    """

    def one_way(size: int) -> RecurrentLayer:
        layer = build_layer(cell, backend, size, hidden_size)
        return WeightDropout(layer, weight_dropout) if weight_dropout else layer

    layers: list[RecurrentLayer] = []
    size = input_size
    for _ in range(num_layers):
        layer = Bidirectional(one_way(size), one_way(size)) if bidirectional else one_way(size)
        layers.append(layer)
        size = layer.output_size
    return Stack(layers, dropout)
