"""What a recurrent cell and a recurrent layer are, and the states that go in and come out.

Legend of the shape comments, here and in the cells: T steps, B batch, I input, H hidden,
O output, G gates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

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


class JordanState(NamedTuple):
    """The state of a Jordan network."""

    output: Tensor  # (B, O)


State = HiddenState | LSTMState | JordanState


class BidirectionalState(NamedTuple):
    """The states of a layer that reads both ways."""

    forward: LayerState
    backward: LayerState


LayerState = State | BidirectionalState
StackState = tuple[State, ...]
"""of layers that read one way, from the bottom up"""

AnyState = TypeVar("AnyState", bound=LayerState | tuple[LayerState, ...])


def map_state(fn: Callable[..., Tensor], state: AnyState, *others: AnyState) -> AnyState:
    """Apply ``fn`` to each tensor of a layer's or a stack's state: detach, move, select rows.

    With more states of the same kind, ``fn`` takes the tensors that stand at the same place.
    """
    parts: list[Any] = [
        fn(*part) if isinstance(part[0], Tensor) else map_state(fn, *part)
        for part in zip(state, *others, strict=True)
    ]
    if hasattr(state, "_fields"):
        return type(state)(*parts)
    return tuple(parts)  # type: ignore[return-value]


class RecurrentCell(nn.Module, ABC):
    """One step of a recurrence.

    A cell is the input's part, ``project``, which knows nothing of the past and can be taken for
    all steps at once, and the state's part, ``step``.

    Attributes:
        weight_input: (I, G * H) for G gates; a token id picks a row of it.
        weight_hidden: (O, G * H), for the last step's output; O = H but in a Jordan network.
        bias: (G * H,). One, as in the papers and the book, where nn.RNN and nn.LSTM add up two.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_gates: int, output_size: int | None = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size or hidden_size
        self.weight_input = nn.Parameter(torch.empty(input_size, num_gates * hidden_size))
        self.weight_hidden = nn.Parameter(torch.empty(self.output_size, num_gates * hidden_size))
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
        """Zeros, (B, O) each, where the weights are."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """The equation: (B, G * H) projected input and the last state to (B, O) and the next."""

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step from the input itself, (B, I) or (B,) token ids."""
        return self.step(self.project(x), state)

    def _zeros(self, batch_size: int) -> Tensor:
        return self.weight_hidden.new_zeros(batch_size, self.output_size)


class RecurrentLayer(nn.Module, ABC):
    """A whole sequence of any length T >= 1.

    Attributes:
        recurrent_weight: the name, within the layer, of its hidden-to-hidden weights; a layer
            that reads both ways has none, as its directions have one each.
    """

    input_size: int
    output_size: int
    recurrent_weight: str

    @abstractmethod
    def initial_state(self, batch_size: int) -> LayerState:
        """Zeros, (B, O) each, where the weights are."""

    @abstractmethod
    def forward(
        self,
        xs: Tensor,
        state: LayerState,
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, LayerState]:
        """All steps of every row.

        Args:
            xs: (T, B, I) features, or (T, B) int64 token ids.
            state: the one before the first step.
            lengths: (B,) int64, the steps that count of each row, from 1 to T; None: all.
                What stands after them is padding, which is never looked at.
            final_state: whether the state after the last step is asked for; if not, what comes in
                its place means nothing, and some layers are quicker: they do look at the padding,
                which changes nothing as long as it is finite.

        Returns:
            (T, B, O) outputs, zeros after a row's end; and the state after each row's last step.

        Raises:
            ValueError: the lengths are no such numbers.
        """


def reset_uniform(module: nn.Module, hidden_size: int) -> None:
    """Draw every weight and bias from +-1/sqrt(H), as torch's recurrent layers do."""
    bound = hidden_size**-0.5
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)


def reset_book(module: nn.Module) -> None:
    """Draw the weights from a normal distribution of deviation 0.01; biases 0.

    Dive into Deep Learning 0.17, section 8.5.1.
    """
    for name, parameter in module.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.01)


def reset_glorot(module: nn.Module) -> None:
    """Draw the weights as Keras does.

    Those that the past goes through are orthogonal (Saxe et al. 2014), those of other inputs
    uniform by the numbers of inputs and outputs (Glorot and Bengio 2010), those of embeddings in
    +-0.05; biases are 0, but 1 for the forget gate of an LSTM (Jozefowicz et al. 2015).
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if isinstance(part, nn.Embedding):
                nn.init.uniform_(parameter, -0.05, 0.05)
            elif name in ("weight_hidden", "weight_hh_l0"):
                nn.init.orthogonal_(parameter)
            elif parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
        forget = getattr(part, "bias_ih_l0", None) if isinstance(part, nn.LSTM) else None
        if isinstance(part, RecurrentCell) and isinstance(part.initial_state(1), LSTMState):
            forget = part.bias  # its gates are in the same order as torch's
        if forget is not None:
            units = len(forget) // 4
            nn.init.ones_(forget[units : 2 * units])
