"""The Mogrifier LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.mogrifier_kernel import mogrifier_kernel
from charlm.recurrent.states import LSTMState


class MogrifierCell(LSTMCell):
    """An LSTM whose input x and hidden state h gate each other in r rounds before each step.

    ::

        x_1 = 2 sigmoid(h Q_1) * x
        h_2 = 2 sigmoid(x_1 Q_2) * h
        x_3 = 2 sigmoid(h_2 Q_3) * x_1
        ...
        h', c' = the step of an LSTM from the last x, the last h, and c

    With random Q near zero the gates are about 1, and the cell is an LSTM. With r = 0 it is one.

    Shapes: x (B, I), h and c (B, H). W_input (I, 4H), W_hidden (H, 4H) and b (4H,) are as in
    `charlm.recurrent.lstm.LSTMCell`. Q_1, Q_3, ... are (H, I), Q_2, Q_4, ... are (I, H); of rank k,
    each is the product of a matrix with k columns and one with k rows.
    Melis, Kocisky and Blunsom (2020), "Mogrifier LSTM", arXiv:1909.01792, section 2. The authors'
    code also has a bias in each round, and lets the input gate be at most 1 - f.

    Args:
        rounds: r.
        rank: k; None: the matrices are whole.
    """

    def __init__(self, input_size: int, hidden_size: int, *, rounds: int, rank: int | None) -> None:
        super().__init__(input_size, hidden_size, peepholes=False, nonlinearity="tanh")
        self.in_torch = False
        self.rounds: list[list[str]] = []  # the names of the matrices of each round
        for number in range(1, rounds + 1):
            sizes = [hidden_size, input_size] if number % 2 else [input_size, hidden_size]
            sizes[1:1] = [] if rank is None else [rank]
            names = [f"weight_round_{number}{part}" for part in ("", "_right")[: len(sizes) - 1]]
            for name, *shape in zip(names, sizes[:-1], sizes[1:], strict=True):
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
            self.rounds.append(names)
        self.reset_parameters()

    def project(self, xs: Tensor) -> Tensor:
        """The features, or one-hot vectors: the state gates the input before all products."""
        return RecurrentCell.project(self, xs)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the input, (B, I)."""
        gated, other = projected, state.hidden
        for names in self.rounds:
            gate = other
            for name in names:
                gate = torch.mm(gate, getattr(self, name))
            gated, other = other, 2 * torch.sigmoid(gate) * gated
        xs, hidden = (other, gated) if len(self.rounds) % 2 else (gated, other)
        gates = torch.addmm(self.bias, xs, self.weight_input)
        return super().step(gates, LSTMState(hidden, state.cell))

    def kernel(self) -> Kernel:
        """For the rounds of this cell."""
        return mogrifier_kernel(self.rounds)
