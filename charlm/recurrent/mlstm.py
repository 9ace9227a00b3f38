"""The multiplicative long short-term memory."""

from __future__ import annotations

import torch
from torch import Tensor

from charlm.recurrent.cell import GatedCell
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.lstm import lstm_step
from charlm.recurrent.mlstm_kernel import MLSTM
from charlm.recurrent.states import LSTMState


class MultiplicativeLSTMCell(GatedCell[LSTMState]):
    """An LSTM whose gates see the product m of input and state in place of the state.

    ::

        m  = (x W_input[m] + b[m]) * (h W_hidden[m])
        i  = sigmoid(x W_input[i] + m W_hidden[i] + b[i])
        f  = sigmoid(x W_input[f] + m W_hidden[f] + b[f])
        g  = tanh(x W_input[g] + m W_hidden[g] + b[g])
        o  = sigmoid(x W_input[o] + m W_hidden[o] + b[o])
        c' = f * c + i * g
        h' = o * tanh(c')

    So each input character has a recurrent matrix of its own, W_hidden[m] diag(x W_input[m] + b[m])
    W_hidden[i, f, g, o].

    Shapes: x (B, I), h, c and m (B, H), W_input (I, 5H), W_hidden (H, 5H), b (5H,).
    The parts are in the order m, i, f, g, o.
    Krause, Lu, Murray and Renals (2016), "Multiplicative LSTM for sequence modelling",
    arXiv:1609.07959. The paper has no b[m]. Without it, m would be almost zero for an embedding
    with small numbers, and the network would learn late to use its state.
    It is not the mLSTM of xLSTM (2024), which has a matrix as its memory.
    """

    state_type = LSTMState
    in_torch = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, num_gates=5)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the projected input, (B, 5H)."""
        by_input, gates = projected.tensor_split([self.hidden_size], dim=1)
        to_product, to_gates = self.weight_hidden.tensor_split([self.hidden_size], dim=1)
        product = by_input * torch.mm(state.hidden, to_product)
        return lstm_step(torch.addmm(gates, product, to_gates), state.cell)

    def kernel(self) -> Kernel:
        """Of this cell."""
        return MLSTM

    def forget_bias(self) -> Tensor:
        """(H,), a view of the forget gate's bias."""
        return self.bias[2 * self.hidden_size : 3 * self.hidden_size]
