"""The long short-term memory, with and without peepholes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlm.recurrent.cell import ACTIVATIONS, GatedCell
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.lstm_kernel import LSTM, LSTM_PEEPHOLE
from charlm.recurrent.states import LSTMState


class LSTMCell(GatedCell[LSTMState]):
    """Input gate i, forget gate f, candidate g, output gate o; the output is h'.

    ::

        i  = sigmoid(x W_input[i] + h W_hidden[i] + b[i] + p_i * c)
        f  = sigmoid(x W_input[f] + h W_hidden[f] + b[f] + p_f * c)
        g  = tanh(x W_input[g] + h W_hidden[g] + b[g])
        c' = f * c + i * g
        o  = sigmoid(x W_input[o] + h W_hidden[o] + b[o] + p_o * c')
        h' = o * tanh(c')

    The peepholes p let the gates see the cell: the output gate sees the new one, the others the
    last one. Without peepholes these terms are left out, as in torch.

    Shapes: x (B, I), h and c (B, H), W_input (I, 4H), W_hidden (H, 4H), b (4H,), each p (H,).
    The gates are in the order i, f, g, o, as in torch.
    Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000);
    Dive into Deep Learning, section 9.2. Peepholes: Gers and Schmidhuber (2000), "Recurrent nets
    that time and count"; Graves (2013), arXiv:1308.0850, equations 7 to 11. Gers and Schmidhuber
    stop the gradient at the peepholes. Here it flows through them, as in Graves.

    Args:
        peepholes: whether the gates see the cell.
        nonlinearity: "tanh"; or "linear", which leaves both tanh out, for examples by hand.
    """

    state_type = LSTMState

    def __init__(
        self, input_size: int, hidden_size: int, *, peepholes: bool, nonlinearity: str
    ) -> None:
        super().__init__(input_size, hidden_size, num_gates=4)
        self.in_torch = not peepholes and nonlinearity == "tanh"
        self.nonlinearity = nonlinearity
        self._activation = ACTIVATIONS[nonlinearity]
        self.peepholes = peepholes
        if peepholes:
            self.peephole_input = nn.Parameter(torch.empty(hidden_size))
            self.peephole_forget = nn.Parameter(torch.empty(hidden_size))
            self.peephole_output = nn.Parameter(torch.empty(hidden_size))
            self.reset_parameters()

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the projected input, (B, 4H)."""
        gates = torch.addmm(projected, state.hidden, self.weight_hidden)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
        if self.peepholes:
            input_gate = input_gate + self.peephole_input * state.cell
            forget_gate = forget_gate + self.peephole_forget * state.cell
        cell = torch.sigmoid(forget_gate) * state.cell
        cell = cell + torch.sigmoid(input_gate) * self._activation(candidate)
        if self.peepholes:
            output_gate = output_gate + self.peephole_output * cell
        hidden = torch.sigmoid(output_gate) * self._activation(cell)
        return hidden, LSTMState(hidden, cell)

    def kernel(self) -> Kernel | None:
        """Of the cell's kind; None if it is linear."""
        if self.nonlinearity != "tanh":
            return None
        return LSTM_PEEPHOLE if self.peepholes else LSTM

    def forget_bias(self) -> Tensor:
        """(H,), a view of the forget gate's bias."""
        return self.bias[self.hidden_size : 2 * self.hidden_size]


def lstm_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, LSTMState]:
    """The output and the next state of an LSTM without peepholes.

    Args:
        gates: (B, 4H), what i, f, g and o are the sigmoid and tanh of.
        cell: c, (B, H).
    """
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
    return hidden, LSTMState(hidden, cell)
