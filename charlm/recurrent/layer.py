"""Recurrent layers: a whole sequence at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class RecurrentLayer(nn.Module, ABC):
    """A recurrence over sequences of any length T >= 1.

    The state is a NamedTuple, see `charlm.recurrent.states`; that of a stack is a tuple of them.

    Attributes:
        input_size: I.
        output_size: O.
        recurrent_weights: the names, within the layer, of all hidden-to-hidden weights.
        bidirectional: whether the second half of each output comes from a backward layer.
    """

    input_size: int
    output_size: int
    recurrent_weights: tuple[str, ...] = ()
    bidirectional = False

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The state before the first step, (B, ...) each, on the device of the weights."""

    @abstractmethod
    def forward(self, xs: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        """The outputs of all steps and the state after each row's last step.

        Args:
            xs: (T, B, I) features, or (T, B) int64 token ids.
            state: the state before the first step.
            lengths: (B,) int64, the number of valid steps of each row, from 1 to T; None: T.
                The steps after them are padding and are never read.

        Returns:
            (T, B, O) outputs, zeros in the padding, and the state.

        Raises:
            ValueError: the lengths are not (B,) int64, or one of them is not from 1 to T.
        """

    def outputs(self, xs: Tensor, state: Any, lengths: Tensor | None = None) -> Tensor:
        """The outputs of `forward` without the state, which some layers compute faster.

        Arguments and errors are those of `forward`. The padding may be read, and must be finite.
        """
        outputs: Tensor = self(xs, state, lengths)[0]
        return outputs

    def forget_bias(self) -> Tensor | None:
        """A view of the forget gate's bias, where the layer has it and not one of its parts."""
        return None
