"""The recurrent network of Jordan, whose output is fed back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from charlm.recurrent.core import JordanState, RecurrentCell, State, reset_uniform


class JordanCell(RecurrentCell):
    """The last output y joins the input; the output is y'.

    ::

        h  = tanh(x W_input + y W_hidden + b)
        y' = f(h W_output + b_output)

    Shapes: x (B, I), h (B, H), y (B, O), W_input (I, H), W_hidden (O, H), b (H,),
    W_output (H, O), b_output (O,).
    Jordan (1986), "Serial order: a parallel distributed processing approach", reprinted 1997;
    Mesnil et al. (2013), "Investigation of recurrent-neural-network architectures and learning
    methods for spoken language understanding", where y are the probabilities of the labels.
    Jordan's state also keeps a fading trace of the outputs before; here it is y alone.

    Args:
        output_size: O; None: H.
        activation: f, "tanh", "sigmoid", "softmax" or "linear" (f(x) = x).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        activation: str = "tanh",
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=1, output_size=output_size)
        self.weight_output = nn.Parameter(torch.empty(hidden_size, self.output_size))
        self.bias_output = nn.Parameter(torch.empty(self.output_size))
        reset_uniform(self, hidden_size)
        activations: dict[str, Callable[[Tensor], Tensor]] = {
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "softmax": partial(torch.softmax, dim=1),
            "linear": torch.positive,
        }
        self._activation = activations[activation]

    def initial_state(self, batch_size: int) -> JordanState:
        """Zeros, (B, O)."""
        return JordanState(self._zeros(batch_size))

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, JordanState]:
        """One step from the projected input, (B, H)."""
        assert isinstance(state, JordanState)
        hidden = torch.tanh(torch.addmm(projected, state.output, self.weight_hidden))
        output = self._activation(torch.addmm(self.bias_output, hidden, self.weight_output))
        return output, JordanState(output)
