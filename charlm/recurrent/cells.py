"""The table of recurrent cells, which imports no torch: a configuration is checked without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

MOGRIFIER_ROUNDS = 5


@dataclass(frozen=True)
class CellKind:
    """How both backends make a cell.

    ``scratch`` takes ``input_size`` and ``hidden_size`` and returns a `RecurrentCell`. ``torch``
    takes also ``num_layers`` and ``bidirectional`` and returns a network such as nn.LSTM.
    ``cell_state``: whether its state has a part named "cell".
    ``kernel``: whether something computes whole sequences of it at once on the CPU.
    ``recurrent``: whether it has hidden-to-hidden weights.
    ``settings``: the settings of the network that it takes, by the names of its arguments.
    """

    scratch: Callable[..., Any]
    torch: Callable[..., Any] | None = None
    why_not_torch: str = "torch has no such network"
    kernel: bool = False
    cell_state: bool = False
    recurrent: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)


def imported(path: str, **options: Any) -> Callable[..., Any]:
    """A function that imports ``path``, "module:class", and calls it.

    ``options`` are given to each call, unless a call gives its own.
    """
    return lambda **arguments: resolve_name(path)(**{**options, **arguments})


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
        cell_state=True,
    ),
    "lstm-peephole": CellKind(
        imported("charlm.recurrent.lstm:LSTMCell", peepholes=True, nonlinearity="tanh"),
        why_not_torch="nn.LSTM has no peepholes",
        kernel=True,
        cell_state=True,
    ),
    "jordan": CellKind(
        imported("charlm.recurrent.jordan:JordanCell", output_size=None, activation="tanh"),
        why_not_torch="torch has no Jordan network",
        kernel=True,
    ),
    "lstm-layernorm": CellKind(
        imported("charlm.recurrent.layer_norm:LayerNormLSTMCell"),
        why_not_torch="nn.LSTM does not normalise",
        cell_state=True,
    ),
    "gru-layernorm": CellKind(
        imported("charlm.recurrent.layer_norm:LayerNormGRUCell"),
        why_not_torch="nn.GRU does not normalise",
    ),
    "mogrifier": CellKind(
        imported("charlm.recurrent.mogrifier:MogrifierCell", rounds=MOGRIFIER_ROUNDS, rank=None),
        why_not_torch="nn.LSTM does not gate its input",
        kernel=True,
        cell_state=True,
        settings={"rounds": "mogrifier_rounds", "rank": "mogrifier_rank"},
    ),
    "mlstm": CellKind(
        imported("charlm.recurrent.mlstm:MultiplicativeLSTMCell"),
        why_not_torch="torch has no multiplicative LSTM",
        kernel=True,
        cell_state=True,
    ),
    "mingru": CellKind(
        imported("charlm.recurrent.minimal:MinGRUCell"),
        why_not_torch="the gates of nn.GRU see the state",
        kernel=True,
        recurrent=False,
    ),
    "minlstm": CellKind(
        imported("charlm.recurrent.minimal:MinLSTMCell"),
        why_not_torch="the gates of nn.LSTM see the state",
        kernel=True,
        recurrent=False,
    ),
}


def has_kernel(cell: str) -> bool:
    """Whether something computes whole sequences of the scratch cell at once on the CPU."""
    return CELLS[cell].kernel
