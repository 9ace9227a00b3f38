"""A cell as a layer: one step after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlm.recurrent.cell import RecurrentCell, S
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import pack, unpack
from charlm.recurrent.states import map_state


class Unrolled(RecurrentLayer):
    """A cell over whole sequences. It projects the inputs of all steps at once."""

    def __init__(self, cell: RecurrentCell[Any]) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size

    def initial_state(self, batch_size: int) -> Any:
        """The cell's."""
        return self.cell.initial_state(batch_size)

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, Any]:
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
        assert packed.sorted_indices is not None
        sizes = packed.batch_sizes.tolist()  # at each step, the number of rows with that step
        state = _rows(state, packed.sorted_indices)
        outputs: list[Tensor] = []
        ended: list[S] = []
        rows = len(lengths)
        for projected in torch.split(self.cell.project(packed.data), sizes):
            if len(projected) < rows:
                rows = len(projected)
                ended.insert(0, _rows(state, slice(rows, None)))
                state = _rows(state, slice(rows))
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        last = map_state(lambda *parts: torch.cat(parts)[packed.unsorted_indices], state, *ended)
        return unpack(packed._replace(data=torch.cat(outputs)), len(xs)), last


def _rows(state: S, rows: Tensor | slice) -> S:
    return map_state(lambda tensor: tensor[rows], state)
