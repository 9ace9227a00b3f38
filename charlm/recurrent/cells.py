"""The table of recurrent cells, which imports no torch: a configuration is checked without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class CellKind:
    """How both backends make a cell.

    ``scratch`` takes ``input_size`` and ``hidden_size`` and returns a `RecurrentCell`. ``torch``
    takes also ``num_layers`` and ``bidirectional`` and returns a network such as nn.LSTM.
    ``kernel``: whether `charlm.recurrent.kernels` computes whole sequences of it on the CPU.
    """

    scratch: Callable[..., Any]
    torch: Callable[..., Any] | None = None
    why_not_torch: str = "torch has no such network"
    kernel: bool = False


def imported(path: str, **options: Any) -> Callable[..., Any]:
    """A function that imports ``path``, "module:class", and calls it with more ``options``."""
    return lambda **arguments: resolve_name(path)(**arguments, **options)


CELLS: dict[str, CellKind] = {
    "rnn": CellKind(
        imported("charlm.recurrent.elman:ElmanCell", nonlinearity="tanh"),
        imported("torch.nn:RNN", nonlinearity="tanh"),
        kernel=True,
    ),
    "rnn-relu": CellKind(
        imported("charlm.recurrent.elman:ElmanCell", nonlinearity="relu"),
        imported("torch.nn:RNN", nonlinearity="relu"),
        kernel=True,
    ),
    "gru": CellKind(
        imported("charlm.recurrent.gru:GRUCell", reset="after"),
        imported("torch.nn:GRU"),
        kernel=True,
    ),
    "gru-reset-before": CellKind(
        imported("charlm.recurrent.gru:GRUCell", reset="before"),
        why_not_torch="nn.GRU resets after the product",
        kernel=True,
    ),
    "lstm": CellKind(
        imported("charlm.recurrent.lstm:LSTMCell", peepholes=False, nonlinearity="tanh"),
        imported("torch.nn:LSTM"),
        kernel=True,
    ),
    "lstm-peephole": CellKind(
        imported("charlm.recurrent.lstm:LSTMCell", peepholes=True, nonlinearity="tanh"),
        why_not_torch="nn.LSTM has no peepholes",
        kernel=True,
    ),
    "jordan": CellKind(
        imported("charlm.recurrent.jordan:JordanCell", output_size=None, activation="tanh"),
        why_not_torch="torch has no Jordan network",
        kernel=True,
    ),
}


def has_kernel(cell: str) -> bool:
    """Whether a kernel computes whole sequences of the scratch cell on the CPU."""
    return CELLS[cell].kernel
