"""Zoneout: units of a state that keep their value from one step to the next, at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from charlm.recurrent.cell import RecurrentCell


class ZoneoutCell(RecurrentCell[Any]):
    """A cell with zoneout on its state.

    ::

        s' = m * s + (1 - m) * step(x, s)      in training, with m drawn anew for each unit and step
        s' = p * s + (1 - p) * step(x, s)      else: the expectation

    m is 1 with the probability p. The output is that of the new state.
    Krueger et al. (2017), "Zoneout: regularizing RNNs by randomly preserving hidden activations",
    arXiv:1606.01305.

    Args:
        cell: the cell. Its kernel cannot do this, so the layer goes step by step.
        hidden: p of the hidden state, or of a Jordan network's output.
        cell_state: p of the cell state of an LSTM.
    """

    def __init__(self, cell: RecurrentCell[Any], *, hidden: float, cell_state: float) -> None:
        super().__init__(cell.input_size, cell.output_size)
        self.cell, self.hidden, self.cell_state = cell, hidden, cell_state

    def initial_state(self, batch_size: int) -> Any:
        """The cell's."""
        return self.cell.initial_state(batch_size)

    def project(self, xs: Tensor) -> Tensor:
        """The cell's."""
        return self.cell.project(xs)

    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of the cell, and zoneout."""
        output, new = self.cell.step(projected, state)
        kept = [
            self._keep(was, now, self.cell_state if name == "cell" else self.hidden)
            for name, was, now in zip(new._fields, state, new, strict=True)
        ]
        return _same_part(output, new, kept), type(new)(*kept)

    def _keep(self, was: Tensor, now: Tensor, probability: float) -> Tensor:
        if not probability:
            return now
        if not self.training:
            return now + probability * (was - now)
        return torch.where(torch.rand_like(now) < probability, was, now)


def _same_part(output: Tensor, state: Sequence[Tensor], kept: Sequence[Tensor]) -> Tensor:
    """The part of the new state that the output is; the output if it is none of them."""
    return next((new for new, old in zip(kept, state, strict=True) if old is output), output)
