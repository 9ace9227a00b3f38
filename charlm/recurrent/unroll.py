"""A cell as a layer: one step after the other."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.cell import RecurrentCell, S
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import check_lengths, pack, unpack
from charlm.recurrent.states import map_state


class Unrolled(RecurrentLayer):
    """A cell over whole sequences. It projects the inputs of all steps at once."""

    def __init__(self, cell: RecurrentCell[Any]) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size
        self.recurrent_weights = tuple(f"cell.{name}" for name in cell.recurrent_weights)

    def initial_state(self, batch_size: int) -> Any:
        """The cell's."""
        return self.cell.initial_state(batch_size)

    def forward(self, xs: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and the state after each row's last step."""
        if lengths is not None:
            return self._forward_packed(xs, state, lengths)
        outputs = []
        for projected in self.cell.project(xs).unbind(0):  # T times (B, P)
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        return torch.stack(outputs), state

    def _forward_packed(self, xs: Tensor, state: S, lengths: Tensor) -> tuple[Tensor, S]:
        """Only the valid steps: the rows are sorted by length, and the shorter ones end first."""
        packed = pack(xs, lengths)
        order, order_before = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert order_before is not None
        sizes = packed.batch_sizes.tolist()  # at each step, the number of rows with that step
        state = _rows(state, order)
        outputs: list[Tensor] = []
        ended: list[S] = []
        rows = len(order)
        for projected in torch.split(self.cell.project(packed.data), sizes):
            if len(projected) < rows:
                rows = len(projected)
                ended.insert(0, _rows(state, slice(rows, None)))
                state = _rows(state, slice(rows))
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        last = map_state(lambda *parts: torch.cat(parts)[order_before], state, *ended)
        return unpack(packed._replace(data=torch.cat(outputs)), len(xs)), last


def unroll_by_step(
    cell: RecurrentCell[S], xs: Tensor, state: S, lengths: Tensor | None = None
) -> tuple[Tensor, S]:
    """The slow, readable twin of `Unrolled`: one step at a time, and padded rows one by one."""
    if lengths is not None:
        check_lengths(lengths, xs)
        rows = [
            unroll_by_step(cell, xs[:length, row : row + 1], _rows(state, slice(row, row + 1)))
            for row, length in enumerate(lengths.tolist())
        ]
        padded = [F.pad(output, (0, 0, 0, 0, 0, len(xs) - len(output))) for output, _ in rows]
        last = map_state(lambda *parts: torch.cat(parts), *(last for _, last in rows))
        return torch.cat(padded, dim=1), last
    outputs = []
    for x in xs:  # (B, I) or (B,)
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs), state


def _rows(state: S, rows: Tensor | slice) -> S:
    return map_state(lambda tensor: tensor[rows], state)
