"""Layers by the name of their cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.cells import CELLS
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.stack import Stack, WeightDropout
from charlm.recurrent.torch_layers import TorchLayer
from charlm.recurrent.unroll import Unrolled
from charlm.recurrent.zoneout import ZoneoutCell


def build_layer(
    cell: str,
    backend: str,
    *,
    input_size: int,
    hidden_size: int,
    cell_options: Mapping[str, Any] | None = None,
) -> RecurrentLayer:
    """One layer of a cell; the arguments are those of `build_stack`.

    Raises:
        ValueError: the backend has no such cell, or there is no such backend.
    """
    kind = CELLS.get(cell)
    if kind and backend == "scratch":
        sizes = {"input_size": input_size, "hidden_size": hidden_size}
        return Unrolled(kind.scratch(**sizes, **(cell_options or {})))
    if kind and kind.torch and backend == "torch":
        return TorchLayer(kind.torch(input_size=input_size, hidden_size=hidden_size))
    raise ValueError(f"no cell {cell!r} with the backend {backend!r}")


def build_stack(
    cell: str,
    backend: str,
    *,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bidirectional: bool,
    dropout: float,
    weight_dropout: float,
    zoneout_hidden: float = 0.0,
    zoneout_cell: float = 0.0,
    residual: bool = False,
    skip: bool = False,
    cell_options: Mapping[str, Any] | None = None,
) -> Stack:
    """Layers of one cell on top of each other.

    Args:
        cell: a name in `charlm.recurrent.cells.CELLS`.
        backend: "scratch", the equations step by step, or "torch", torch's own network.
        hidden_size: H, of each layer and direction.
        dropout: probability of locked dropout between layers.
        weight_dropout: probability of dropout on the hidden-to-hidden weights.
        zoneout_hidden, zoneout_cell: probabilities of zoneout on the parts of the state, for
            scratch layers.
        residual, skip: more connections between the layers, as in `Stack`.
        cell_options: more arguments of the scratch cell, such as the rounds of a Mogrifier.

    Raises:
        ValueError: as `build_layer`; or ``num_layers`` is less than 1; or there is zoneout with the
            backend "torch".

    >>> sizes = {"input_size": 5, "hidden_size": 8, "num_layers": 2}
    >>> options = {"bidirectional": False, "dropout": 0.0, "weight_dropout": 0.0}
    >>> stack = charlm.build_stack("gru", "scratch", **sizes, **options)
    >>> len(stack.layers), stack.output_size
    (2, 8)
    """

    def one_way(size: int) -> RecurrentLayer:
        sizes = {"input_size": size, "hidden_size": hidden_size}
        layer = build_layer(cell, backend, **sizes, cell_options=cell_options)
        if zoneout_hidden or zoneout_cell:
            if not isinstance(layer, Unrolled):
                raise ValueError("zoneout needs the backend scratch")
            zoned = ZoneoutCell(layer.cell, hidden=zoneout_hidden, cell_state=zoneout_cell)
            layer = Unrolled(zoned)
        return WeightDropout(layer, weight_dropout) if weight_dropout else layer

    layers: list[RecurrentLayer] = []
    for _ in range(num_layers):
        size = layers[-1].output_size + skip * input_size if layers else input_size
        layer = Bidirectional(one_way(size), one_way(size)) if bidirectional else one_way(size)
        layers.append(layer)
    return Stack(layers, dropout=dropout, residual=residual, skip=skip)
