"""Recurrent cells, which compute one step of a recurrence, and the base of cells and layers.

Symbols in shapes, here and in the cells: T steps, B batch, I input, H hidden, O output, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

S = TypeVar("S", bound=tuple[Any, ...])

WholeSequences = Callable[
    [Tensor, Sequence[int], Sequence[Tensor], Any], tuple[Tensor, list[Tensor]]
]
"""What computes all steps at once; `charlm.recurrent.kernels.Kernel` says what goes in and out."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=1),
    "linear": torch.positive,  # f(x) = x
}


class Recurrent(nn.Module):
    """A cell or a layer.

    Attributes:
        recurrent_weights: the names of its own hidden-to-hidden weights, not of those of its
            parts. Weight dropout drops their entries, Glorot initialisation makes them orthogonal.
    """

    input_size: int  # I
    output_size: int  # O
    recurrent_weights: tuple[str, ...] = ()

    def forget_bias(self) -> Tensor | None:
        """A view of its own forget gate's bias, which Glorot initialisation sets to 1; or None."""
        return None


def recurrent_weights(module: nn.Module) -> list[str]:
    """The names, within a module, of the hidden-to-hidden weights of all its cells and layers."""
    return [
        f"{part_name}.{name}" if part_name else name
        for part_name, part in module.named_modules()
        if isinstance(part, Recurrent)
        for name in part.recurrent_weights
    ]


def reset_uniformly(module: nn.Module, hidden_size: int) -> None:
    """Draw every weight and bias uniformly from +-1/sqrt(H), as torch's networks do."""
    bound = hidden_size**-0.5
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)


def project_inputs(xs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(..., I) features or (...) int64 token ids times an (I, P) weight, plus a (P,) bias."""
    if xs.dtype == torch.int64:
        if len(weight) < xs.numel():  # adds the bias to fewer rows
            return F.embedding(xs, weight + bias)
        return F.embedding(xs, weight) + bias
    return F.linear(xs, weight.T, bias)


class RecurrentCell(Recurrent, ABC, Generic[S]):
    """One step of a recurrence, with states of type ``S``, a NamedTuple of tensors.

    A new cell needs `initial_state` and `step`, and a line in `charlm.recurrent.cells`.
    """

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
        """(..., I) features or (...) int64 token ids to (..., P), the input of `step`.

        This is the part of a step that depends on the input alone, for any number of steps at
        once. By default it returns the features. Token ids stand for one-hot vectors.
        """
        if xs.dtype == torch.int64:
            return F.one_hot(xs, self.input_size).to(next(self.parameters()).dtype)
        return xs

    def forward(self, x: Tensor, state: S) -> tuple[Tensor, S]:
        """One step from (B, I) features or (B,) token ids: (B, O) output and the next state."""
        return self.step(self.project(x), state)

    def kernel(self) -> WholeSequences | None:
        """What computes whole sequences on the CPU with the results of `step`; None: the steps.

        A class that defines `step` anew also needs a `kernel` of its own; else there is none.
        """
        return None

    def parallel(self) -> WholeSequences | None:
        """As `kernel`, on other processors: with few operations one after the other."""
        return None

    def to_torch(self) -> dict[str, Tensor]:
        """Torch's weights for the same results: "weight_ih", "weight_hh", "bias_ih", "bias_hh".

        Raises:
            ValueError: torch has no such network.
        """
        raise self._not_in_torch()

    def from_torch(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `to_torch`, with its errors: the cell's weights by name."""
        raise self._not_in_torch()

    def _not_in_torch(self) -> ValueError:
        kind = type(self).__name__
        return ValueError(f"torch has no network that computes the same as this {kind}")


class GatedCell(RecurrentCell[S]):
    """A cell with G gates and one recurrent matrix.

    Attributes:
        state_type: the type of the states, S.
        weight_input: (I, G * H). A token id picks a row of it.
        weight_hidden: (O, G * H), for the last step's output. O = H except in a Jordan network.
        bias: (G * H,). The papers and the book have one bias, nn.RNN and nn.LSTM add up two.
        in_torch: whether a torch network computes the same.
    """

    recurrent_weights = ("weight_hidden",)
    state_type: Any
    in_torch = True

    def __init__(
        self, input_size: int, hidden_size: int, *, num_gates: int, output_size: int | None = None
    ) -> None:
        output_size = output_size or hidden_size
        super().__init__(input_size, output_size)
        self.hidden_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(input_size, num_gates * hidden_size))
        self.weight_hidden = nn.Parameter(torch.empty(output_size, num_gates * hidden_size))
        self.bias = nn.Parameter(torch.empty(num_gates * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight and bias uniformly from +-1/sqrt(H), as torch's networks do."""
        reset_uniformly(self, self.hidden_size)

    def initial_state(self, batch_size: int) -> S:
        """Zeros, (B, O) each."""
        fields = self.state_type._fields
        zeros = (self.weight_hidden.new_zeros(batch_size, self.output_size) for _ in fields)
        state: S = self.state_type(*zeros)
        return state

    def project(self, xs: Tensor) -> Tensor:
        """(..., I) features or (...) token ids to (..., G * H), the input's part of every gate."""
        return project_inputs(xs, self.weight_input, self.bias)

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
