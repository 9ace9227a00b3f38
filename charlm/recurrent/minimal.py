"""Minimal gated cells, whose gates see the input alone: minGRU and minLSTM."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.recurrent.cell import RecurrentCell, WholeSequences, project_inputs, reset_uniformly
from charlm.recurrent.minimal_kernel import minimal_kernel
from charlm.recurrent.scan import scanned
from charlm.recurrent.states import HiddenState


class MinimalCell(RecurrentCell[HiddenState]):
    """h' = k * h + (1 - k) * n, where k in (0, 1) and the candidate n follow from the input.

    No matrix multiplies the state. So all products of a sequence are computed at once, and only a
    weighted mean is left of each step.

    Attributes:
        weight_input: (I, G * H). A token id picks a row of it.
        bias: (G * H,).
    """

    def __init__(self, input_size: int, hidden_size: int, *, num_gates: int) -> None:
        super().__init__(input_size, hidden_size)
        self.hidden_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(input_size, num_gates * hidden_size))
        self.bias = nn.Parameter(torch.empty(num_gates * hidden_size))
        reset_uniformly(self, hidden_size)

    @abstractmethod
    def keep_and_candidate(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """(N, G * H) projected inputs to k and n, (N, H) each."""

    def initial_state(self, batch_size: int) -> HiddenState:
        """Zeros, (B, H)."""
        return HiddenState(self.bias.new_zeros(batch_size, self.hidden_size))

    def project(self, xs: Tensor) -> Tensor:
        """(..., I) features or (...) token ids to (..., G * H), all that depends on the input."""
        return project_inputs(xs, self.weight_input, self.bias)

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One step from the projected input, (B, G * H)."""
        keep, candidate = self.keep_and_candidate(projected.to(state.hidden.dtype))
        hidden = torch.lerp(candidate, state.hidden, keep)
        return hidden, HiddenState(hidden)

    def kernel(self) -> WholeSequences:
        """Of the cell's gates."""
        return minimal_kernel(self.keep_and_candidate)

    def parallel(self) -> WholeSequences:
        """The scan."""
        return scanned


class MinGRUCell(MinimalCell):
    """A GRU whose gate does not see the state, without a reset gate; the output is h'.

    ::

        z  = sigmoid(x W_input[z] + b[z])
        n  = x W_input[n] + b[n]
        h' = (1 - z) * h + z * n

    Shapes: x (B, I), h (B, H), W_input (I, 2H), b (2H,). The parts are in the order z, n.
    Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024), "Were RNNs all we needed?",
    arXiv:2410.01201, section 3.1. Their form in logarithms also makes n positive.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, num_gates=2)

    def keep_and_candidate(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """1 - z, which is sigmoid(-x W_input[z] - b[z]), and n."""
        update, candidate = projected.chunk(2, dim=1)
        return torch.sigmoid(-update), candidate


class MinLSTMCell(MinimalCell):
    """An LSTM whose gates do not see the state and add up to 1; the output is h'.

    ::

        f  = sigmoid(x W_input[f] + b[f])
        i  = sigmoid(x W_input[i] + b[i])
        n  = x W_input[n] + b[n]
        h' = f / (f + i) * h + i / (f + i) * n

    Shapes: x (B, I), h (B, H), W_input (I, 3H), b (3H,). The parts are in the order f, i, n.
    Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024), "Were RNNs all we needed?",
    arXiv:2410.01201, section 3.2. Their form in logarithms also makes n positive.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, num_gates=3)

    def keep_and_candidate(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """f / (f + i), which is sigmoid(ln f - ln i) and never 0 / 0, and n."""
        forget, given, candidate = projected.chunk(3, dim=1)
        return torch.sigmoid(F.logsigmoid(forget) - F.logsigmoid(given)), candidate

    def forget_bias(self) -> Tensor:
        """(H,), a view of the forget gate's bias."""
        return self.bias[: self.hidden_size]
