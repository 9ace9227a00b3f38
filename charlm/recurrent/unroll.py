"""A cell as a layer: one step after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.core import (
    BidirectionalState,
    LayerState,
    RecurrentCell,
    RecurrentLayer,
    State,
    map_state,
)
from charlm.recurrent.padding import check_lengths, pack, unpack


class Unrolled(RecurrentLayer):
    """A whole sequence through a cell, the inputs' projections taken first, all at once."""

    recurrent_weight = "cell.weight_hidden"

    def __init__(self, cell: RecurrentCell) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, O) each."""
        return self.cell.initial_state(batch_size)

    def forward(
        self,
        xs: Tensor,
        state: LayerState,
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, State]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and the state after each row's last step."""
        assert not isinstance(state, BidirectionalState)
        if lengths is not None:
            return self._forward_packed(xs, state, lengths)
        outputs = []
        for projected in self.cell.project(xs).unbind(0):  # T times (B, G * H)
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        return torch.stack(outputs), state

    def _forward_packed(self, xs: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
        """The valid steps alone: the longest row comes first, and those that end drop out below."""
        packed = pack(xs, lengths)
        order, order_before = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert order_before is not None
        sizes = packed.batch_sizes.tolist()  # rows that go on, at each step
        state = _rows(state, order)
        outputs: list[Tensor] = []
        ended: list[State] = []
        for projected in torch.split(self.cell.project(packed.data), sizes):
            going_on = len(projected)
            if going_on < len(state[0]):
                ended.insert(0, _rows(state, slice(going_on, None)))
                state = _rows(state, slice(going_on))
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        last = map_state(lambda *parts: torch.cat(parts)[order_before], state, *ended)
        return unpack(packed._replace(data=torch.cat(outputs)), len(xs)), last


def unroll_by_step(
    cell: RecurrentCell, xs: Tensor, state: State, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """The readable twin of `Unrolled`: each step from the input itself, unequal rows one by one."""
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


def _rows(state: State, rows: Tensor | slice) -> State:
    return map_state(lambda tensor: tensor[rows], state)
