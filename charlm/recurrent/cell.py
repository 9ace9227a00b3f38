"""Recurrent cells: one step of a recurrence.

Symbols in shapes, here and in the cells: T steps, B batch, I input, H hidden, O output, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

S = TypeVar("S", bound=tuple[Any, ...])


class RecurrentCell(nn.Module, ABC, Generic[S]):
    """One step of a recurrence, with states of type ``S``, a NamedTuple of tensors.

    A new cell needs `initial_state` and `step`, and a line in `charlm.recurrent.cells`. The other
    methods have defaults.

    Attributes:
        input_size: I.
        output_size: O.
        recurrent_weights: the names of the hidden-to-hidden weights. Weight dropout drops their
            entries, and Glorot initialisation makes them orthogonal.
    """

    recurrent_weights: tuple[str, ...] = ()

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, output_size

    @abstractmethod
    def initial_state(self, batch_size: int) -> S:
        """The state before the first step, (B, ...) each, on the device of the weights."""

    @abstractmethod
    def step(self, projected: Tensor, state: S) -> tuple[Tensor, S]:
        """(B, ...) projected input and the last state to the (B, O) output and the next state."""

    def project(self, xs: Tensor) -> Tensor:
        """The part of `step` that depends on the input alone, for any number of steps at once.

        Args:
            xs: (..., I) features, or (...) int64 token ids, which stand for one-hot vectors.

        Returns:
            (..., P), the input of `step`. By default the (..., I) features.
        """
        if xs.dtype == torch.int64:
            return F.one_hot(xs, self.input_size).to(next(self.parameters()).dtype)
        return xs

    def forward(self, x: Tensor, state: S) -> tuple[Tensor, S]:
        """One step from (B, I) features or (B,) token ids: (B, O) output and the next state."""
        return self.step(self.project(x), state)

    def forget_bias(self) -> Tensor | None:
        """A view of the forget gate's bias, which Glorot initialisation sets to 1; or None."""
        return None

    def to_torch(self) -> dict[str, Tensor]:
        """The weights of the torch network that computes the same.

        Returns:
            Torch's names without the layer ("weight_ih", "weight_hh", "bias_ih", "bias_hh") and
            the tensors in torch's layout.

        Raises:
            ValueError: torch has no such network.
        """
        raise self._not_in_torch()

    def from_torch(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The cell's weights, by name, that compute the same as a torch network.

        Differentiable, so that gradients of the cell's weights lead to gradients of torch's.

        Args:
            weights: as `to_torch` returns them.

        Raises:
            ValueError: torch has no such network.
        """
        raise self._not_in_torch()

    def _not_in_torch(self) -> ValueError:
        kind = type(self).__name__
        return ValueError(f"torch has no network that computes the same as this {kind}")


class GatedCell(RecurrentCell[S]):
    """A cell with gates and one recurrent matrix.

    Attributes:
        weight_input: (I, G * H) for G gates. A token id picks a row of it.
        weight_hidden: (O, G * H), for the last step's output. O = H except in a Jordan network.
        bias: (G * H,). The papers and the book have one bias, nn.RNN and nn.LSTM add up two.
        in_torch: whether a torch network computes the same.
    """

    recurrent_weights = ("weight_hidden",)

    def __init__(
        self, input_size: int, hidden_size: int, *, num_gates: int, output_size: int, in_torch: bool
    ) -> None:
        super().__init__(input_size, output_size)
        self.hidden_size, self.in_torch = hidden_size, in_torch
        self.weight_input = nn.Parameter(torch.empty(input_size, num_gates * hidden_size))
        self.weight_hidden = nn.Parameter(torch.empty(output_size, num_gates * hidden_size))
        self.bias = nn.Parameter(torch.empty(num_gates * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight and bias uniformly from +-1/sqrt(H), as torch's networks do."""
        bound = self.hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, xs: Tensor) -> Tensor:
        """(..., I) features or (...) token ids to (..., G * H), the input's part of every gate.

        Token ids pick rows of the weights: no one-hot vector is made.
        """
        if xs.dtype == torch.int64:
            return F.embedding(xs, self.weight_input) + self.bias
        return F.linear(xs, self.weight_input.T, self.bias)

    def to_torch(self) -> dict[str, Tensor]:
        """The weights transposed, and zeros as torch's second bias."""
        if not self.in_torch:
            return super().to_torch()
        return {
            "weight_ih": self.weight_input.T,
            "weight_hh": self.weight_hidden.T,
            "bias_ih": self.bias,
            "bias_hh": torch.zeros_like(self.bias),
        }

    def from_torch(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights transposed, and the sum of torch's two biases."""
        if not self.in_torch:
            return super().from_torch(weights)
        return {
            "weight_input": weights["weight_ih"].T,
            "weight_hidden": weights["weight_hh"].T,
            "bias": weights["bias_ih"] + weights["bias_hh"],
        }

    def _zeros(self, batch_size: int) -> Tensor:
        return self.weight_hidden.new_zeros(batch_size, self.output_size)
