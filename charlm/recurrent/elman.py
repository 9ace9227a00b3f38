"""The simple recurrent network of Elman."""

from __future__ import annotations

import torch
from torch import Tensor

from charlm.recurrent.cell import ACTIVATIONS, GatedCell
from charlm.recurrent.elman_kernel import elman_kernel
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.states import HiddenState


class ElmanCell(GatedCell[HiddenState]):
    """h' = f(x W_input + h W_hidden + b); the output is h'.

    Shapes: x (B, I), h (B, H), W_input (I, H), W_hidden (H, H), b (H,).
    Elman (1990), "Finding structure in time"; Dive into Deep Learning, section 8.4.

    Args:
        nonlinearity: f, "tanh", "relu" or "linear" (f(x) = x).
    """

    state_type = HiddenState

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str) -> None:
        super().__init__(input_size, hidden_size, num_gates=1)
        self.in_torch = nonlinearity in ("tanh", "relu")
        self.nonlinearity = nonlinearity
        self._activation = ACTIVATIONS[nonlinearity]

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One step from the projected input, (B, H)."""
        hidden = self._activation(torch.addmm(projected, state.hidden, self.weight_hidden))
        return hidden, HiddenState(hidden)

    def kernel(self) -> Kernel:
        """Of the cell's kind."""
        return elman_kernel(self.nonlinearity)
