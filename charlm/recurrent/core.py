"""What a recurrent cell and a recurrent layer are, and the states that go in and come out.

Legend of the shape comments, here and in the cells: T steps, B batch, I input, H hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HiddenState(NamedTuple):
    """The state of an Elman network and of a GRU."""

    hidden: Tensor  # (B, H)


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    hidden: Tensor  # (B, H)
    cell: Tensor  # (B, H)


State = HiddenState | LSTMState
StackState = tuple[State, ...]

AnyState = TypeVar("AnyState", State, StackState)


def map_state(fn: Callable[[Tensor], Tensor], state: AnyState) -> AnyState:
    """Apply ``fn`` to each tensor of a layer's or a stack's state: detach, move, select rows."""
    if isinstance(state, HiddenState | LSTMState):
        return type(state)(*map(fn, state))
    return tuple(map_state(fn, layer_state) for layer_state in state)


class RecurrentCell(nn.Module, ABC):
    """One step of a recurrence.

    A cell is the input's part, ``project``, which knows nothing of the past and can be taken for
    all steps at once, and the state's part, ``step``.

    Attributes:
        weight_input: (I, G * H) for G gates; a token id picks a row of it.
        weight_hidden: (H, G * H).
        bias: (G * H,). One, as in the papers and the book, where nn.RNN and nn.LSTM add up two.
    """

    def __init__(self, input_size: int, hidden_size: int, num_gates: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(input_size, num_gates * hidden_size))
        self.weight_hidden = nn.Parameter(torch.empty(hidden_size, num_gates * hidden_size))
        self.bias = nn.Parameter(torch.empty(num_gates * hidden_size))
        reset_uniform(self, hidden_size)

    def project(self, xs: Tensor) -> Tensor:
        """The input's part of every gate, of one step or of many.

        Args:
            xs: (..., I) features, or (...) int64 token ids: these stand for one-hot vectors,
                which are never made: their product with the weights is a row of the weights.

        Returns:
            (..., G * H).
        """
        if xs.dtype == torch.int64:
            return F.embedding(xs, self.weight_input) + self.bias
        return F.linear(xs, self.weight_input.T, self.bias)

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) each, where the weights are."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """The equation: (B, G * H) projected input and the last state to (B, H) and the next."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step from the input itself, (B, I) or (B,) token ids."""
        return self.step(self.project(x), state)

    def _zeros(self, batch_size: int) -> Tensor:
        return self.weight_hidden.new_zeros(batch_size, self.output_size)


class RecurrentLayer(nn.Module, ABC):
    """A whole sequence of any length T >= 1.

    Attributes:
        recurrent_weight: the name, within the layer, of its hidden-to-hidden weights.
    """

    input_size: int
    output_size: int
    recurrent_weight: str

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) each, where the weights are."""

    @abstractmethod
    def forward(self, xs: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps: (T, B, I) or (T, B) token ids to (T, B, H) and the state after the last."""


def reset_uniform(module: nn.Module, hidden_size: int) -> None:
    """Draw every weight and bias from +-1/sqrt(H), as torch's recurrent layers do."""
    bound = hidden_size**-0.5
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)


def reset_book(module: nn.Module) -> None:
    """Draw the weights from a normal distribution of deviation 0.01; biases 0.

    Dive into Deep Learning 0.17, section 8.5.1.
    """
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.01)
