"""The gated recurrent unit, in both of its usual variants."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from charlm.recurrent.cell import GatedCell
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
        input_size: I.
        hidden_size: H.
        reset: "before" or "after" the product with the hidden weights. "after" needs
            ``bias_candidate``.
    """

    def __init__(self, input_size: int, hidden_size: int, *, reset: str) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_gates=3,
            output_size=hidden_size,
            in_torch=reset == "after",
        )
        self.reset = reset
        if reset == "after":
            bound = hidden_size**-0.5
            self.bias_candidate = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def initial_state(self, batch_size: int) -> HiddenState:
        """Zeros, (B, H)."""
        return HiddenState(self._zeros(batch_size))

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One step from the projected input, (B, 3H)."""
        hidden, size = state.hidden, self.output_size
        gates, candidate = projected[:, : 2 * size], projected[:, 2 * size :]
        hidden_to_gates = self.weight_hidden[:, : 2 * size]
        hidden_to_candidate = self.weight_hidden[:, 2 * size :]
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

    def to_torch(self) -> dict[str, Tensor]:
        """As of any cell, but the candidate's hidden bias is inside the reset and stays apart."""
        weights = super().to_torch()
        gates = self.bias.new_zeros(2 * self.output_size)
        return {**weights, "bias_hh": torch.cat([gates, self.bias_candidate])}

    def from_torch(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As of any cell, but the candidate's hidden bias is inside the reset and stays apart."""
        own = super().from_torch(weights)
        candidate = weights["bias_hh"][-self.output_size :]
        gates = own["bias"][: -self.output_size]
        own["bias"] = torch.cat([gates, weights["bias_ih"][-self.output_size :]])
        return {**own, "bias_candidate": candidate}
