"""The gated recurrent unit, in both of its usual variants."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.recurrent.cell import GatedCell
from charlm.recurrent.gru_kernel import GRU_AFTER, GRU_BEFORE
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.states import HiddenState


class GRUCell(GatedCell[HiddenState]):
    """Reset gate r, update gate z, candidate n; the output is h'.

    ::

        r  = sigmoid(x W_input[r] + h W_hidden[r] + b[r])
        z  = sigmoid(x W_input[z] + h W_hidden[z] + b[z])
        n  = tanh(x W_input[n] + (r * h) W_hidden[n] + b[n])                   reset "before"
        n  = tanh(x W_input[n] + b[n] + r * (h W_hidden[n] + b_candidate))     reset "after"
        h' = (1 - z) * n + z * h

    Shapes: x (B, I), h (B, H), W_input (I, 3H), W_hidden (H, 3H), b (3H,), b_candidate (H,).
    The gates are in the order r, z, n.
    "before" is Cho et al. (2014), arXiv:1406.1078v1, and Dive into Deep Learning, section 9.1.
    "after" is the third version of that paper, nn.GRU and cuDNN.

    Args:
        reset: "before" or "after" the product with the hidden weights.
    """

    state_type = HiddenState

    def __init__(self, input_size: int, hidden_size: int, *, reset: str) -> None:
        super().__init__(input_size, hidden_size, num_gates=3)
        self.in_torch = reset == "after"
        self.reset = reset
        if reset == "after":
            bound = hidden_size**-0.5
            self.bias_candidate = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One step from the projected input, (B, 3H)."""
        hidden, gate_columns = state.hidden, [2 * self.hidden_size]
        gates, candidate = projected.tensor_split(gate_columns, dim=1)
        hidden_to_gates, hidden_to_candidate = self.weight_hidden.tensor_split(gate_columns, dim=1)
        gates = torch.sigmoid(torch.addmm(gates, hidden, hidden_to_gates))
        reset, update = gates.chunk(2, dim=1)
        if self.reset == "before":
            candidate = torch.addmm(candidate, reset * hidden, hidden_to_candidate)
        else:
            recurrent = torch.addmm(self.bias_candidate, hidden, hidden_to_candidate)
            candidate = candidate + reset * recurrent
        candidate = torch.tanh(candidate)
        hidden = candidate + update * (hidden - candidate)
        return hidden, HiddenState(hidden)

    def kernel(self) -> Kernel:
        """Of the cell's kind."""
        return GRU_AFTER if self.reset == "after" else GRU_BEFORE

    def to_torch(self) -> dict[str, Tensor]:
        """As of any cell, but the candidate's second bias is inside the reset and stays apart."""
        weights = super().to_torch()
        return {**weights, "bias_hh": F.pad(self.bias_candidate, (2 * self.hidden_size, 0))}

    def from_torch(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As of any cell, but the candidate's second bias is inside the reset and stays apart."""
        own = super().from_torch(weights)
        gates, candidate = weights["bias_hh"].tensor_split([2 * self.hidden_size])
        bias = weights["bias_ih"] + F.pad(gates, (0, self.hidden_size))
        return {**own, "bias": bias, "bias_candidate": candidate}
