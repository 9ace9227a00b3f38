"""The recurrent network of Jordan, which feeds its output back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlm.recurrent.cell import ACTIVATIONS, GatedCell
from charlm.recurrent.elman_kernel import jordan_kernel
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.states import JordanState


class JordanCell(GatedCell[JordanState]):
    """The hidden units see the input and the last output y; the output is y'.

    ::

        h  = tanh(x W_input + y W_hidden + b)
        y' = f(h W_output + b_output)

    Shapes: x (B, I), h (B, H), y (B, O), W_input (I, H), W_hidden (O, H), b (H,),
    W_output (H, O), b_output (O,).
    Jordan (1986), "Serial order: a parallel distributed processing approach", reprinted 1997;
    Mesnil et al. (2013), "Investigation of recurrent-neural-network architectures and learning
    methods for spoken language understanding", where y are the probabilities of the labels.
    Jordan's state also has a fading trace of earlier outputs; this one is y alone.

    Args:
        output_size: O; None: H.
        activation: f, "tanh", "sigmoid", "softmax" or "linear" (f(x) = x).
    """

    state_type = JordanState
    in_torch = False

    def __init__(
        self, input_size: int, hidden_size: int, *, output_size: int | None, activation: str
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=1, output_size=output_size)
        self.weight_output = nn.Parameter(torch.empty(hidden_size, self.output_size))
        self.bias_output = nn.Parameter(torch.empty(self.output_size))
        self.reset_parameters()
        self.activation = activation
        self._activation = ACTIVATIONS[activation]

    def step(self, projected: Tensor, state: JordanState) -> tuple[Tensor, JordanState]:
        """One step from the projected input, (B, H)."""
        hidden = torch.tanh(torch.addmm(projected, state.output, self.weight_hidden))
        output = self._activation(torch.addmm(self.bias_output, hidden, self.weight_output))
        return output, JordanState(output)

    def kernel(self) -> Kernel | None:
        """Of the cell's kind."""
        return jordan_kernel(self.activation)
