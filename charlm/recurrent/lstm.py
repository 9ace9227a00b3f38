"""The long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor

from charlm.recurrent.core import LSTMState, RecurrentCell, State


class LSTMCell(RecurrentCell):
    """Input gate i, forget gate f, candidate g, output gate o; the output is h'.

    ::

        i, f, o = sigmoid(x W_input + h W_hidden + b)     each with its own columns
        g       = tanh(x W_input + h W_hidden + b)        with its own columns
        c'      = f * c + i * g
        h'      = o * tanh(c')

    Shapes: x (B, I), h and c (B, H), W_input (I, 4H), W_hidden (H, 4H), b (4H,); the gates lie
    in the order i, f, g, o, as in torch.
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000);
    Dive into Deep Learning, section 9.2.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, num_gates=4)

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros, (B, H) each."""
        return LSTMState(self._zeros(batch_size), self._zeros(batch_size))

    def step(self, projected: Tensor, state: State) -> tuple[Tensor, LSTMState]:
        """One step from the projected input, (B, 4H)."""
        assert isinstance(state, LSTMState)
        gates = torch.addmm(projected, state.hidden, self.weight_hidden)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget_gate) * state.cell
        cell = cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
        return hidden, LSTMState(hidden, cell)
