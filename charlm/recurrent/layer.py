"""Recurrent layers: a whole sequence at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from charlm.recurrent.cell import Recurrent


class RecurrentLayer(Recurrent, ABC):
    """A recurrence over sequences of any length T >= 1.

    The state is a NamedTuple, see `charlm.recurrent.states`; that of a stack is a tuple of them.
    """

    bidirectional = False  # whether the second half of each output comes from a backward layer

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step, (B, ...) each, on the device of the weights."""

    @abstractmethod
    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, Any]:
        """The outputs of all steps and the state after each row's last step.

        Args:
            xs: (T, B, I) features, or (T, B) int64 token ids.
            lengths: (B,) int64, the number of valid steps of each row, from 1 to T; None: T.
                The steps after them are padding and are never read.
            outputs_only: compute only the outputs, which is faster in some layers: a state that
                was not computed is None. The padding may be read, and must be finite.

        Returns:
            (T, B, O) outputs, zeros in the padding, and the state.

        Raises:
            ValueError: the lengths are not (B,) int64, or one of them is not from 1 to T.
        """

    def outputs(self, xs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:
        """The outputs of `forward` with ``outputs_only``; the same arguments and errors."""
        outputs: Tensor = self(xs, state, lengths, outputs_only=True)[0]
        return outputs
