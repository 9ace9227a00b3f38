"""A cell as a layer: one step after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from charlm.recurrent.core import RecurrentCell, RecurrentLayer, State


class Unrolled(RecurrentLayer):
    """A whole sequence through a cell, the inputs' projections taken first, all at once."""

    recurrent_weight = "cell.weight_hidden"

    def __init__(self, cell: RecurrentCell) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) each."""
        return self.cell.initial_state(batch_size)

    def forward(self, xs: Tensor, state: State) -> tuple[Tensor, State]:
        """(T, B, I) or (T, B) token ids to (T, B, H) and the state after the last step."""
        outputs = []
        for projected in self.cell.project(xs).unbind(0):  # T times (B, G * H)
            output, state = self.cell.step(projected, state)
            outputs.append(output)
        return torch.stack(outputs), state


def unroll_by_step(cell: RecurrentCell, xs: Tensor, state: State) -> tuple[Tensor, State]:
    """The readable twin of `Unrolled`: each step from the input itself."""
    outputs = []
    for x in xs:  # (B, I) or (B,)
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs), state
