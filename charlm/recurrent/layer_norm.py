"""The LSTM and the GRU with layer normalisation inside the cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.recurrent.cell import GatedCell, S
from charlm.recurrent.states import HiddenState, LSTMState


def normalise(values: Tensor, gain: Tensor) -> Tensor:
    """Layer normalisation of the last dimension, without a bias, in the precision of the gain."""
    return F.layer_norm(values.to(gain.dtype), values.shape[-1:], 1 + gain)


class NormalisedCell(GatedCell[S]):
    """A cell whose products with the weights are normalised.

    ::

        LN(v) = (1 + gain) * (v - mean(v)) / sqrt(variance(v) + 1e-5)

    The gains are kept as their difference from 1, so that every initialisation leaves them near 1
    and weight decay draws them there. Each LN has its own, as long as v. The cell's bias takes the
    place of the LNs' own biases.
    Ba, Kiros and Hinton (2016), "Layer normalization", arXiv:1607.06450, supplementary material.

    Attributes:
        parts: the sizes of the parts of the G * H columns that are normalised apart.
    """

    in_torch = False

    def __init__(self, input_size: int, hidden_size: int, *, parts: list[int]) -> None:
        columns = sum(parts)
        super().__init__(input_size, hidden_size, num_gates=columns // hidden_size)
        self.parts = parts
        self.gain_input = nn.Parameter(torch.empty(columns))
        self.gain_hidden = nn.Parameter(torch.empty(columns))
        self.reset_parameters()

    def project(self, xs: Tensor) -> Tensor:
        """(..., I) features or (...) token ids to (..., G * H), the input's part of every gate."""
        weight, is_ids = self.weight_input, xs.dtype == torch.int64
        product = F.embedding(xs, weight) if is_ids else F.linear(xs, weight.T)
        return self.normalise_parts(product, self.gain_input) + self.bias

    def normalise_parts(self, product: Tensor, gain: Tensor) -> Tensor:
        """(..., G * H) to the same shape, each part normalised."""
        values, gains = torch.split(product, self.parts, dim=-1), torch.split(gain, self.parts)
        return torch.cat([normalise(*each) for each in zip(values, gains, strict=True)], dim=-1)


class LayerNormLSTMCell(NormalisedCell[LSTMState]):
    """As `charlm.recurrent.lstm.LSTMCell`, with three layer normalisations.

    ::

        i, f, g, o = LN(x W_input) + LN(h W_hidden) + b
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(LN(c') + b_cell)

    Shapes: x (B, I), h and c (B, H), W_input (I, 4H), W_hidden (H, 4H), b (4H,), b_cell (H,).
    The first two LN are of all 4H columns together.
    """

    state_type = LSTMState

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, parts=[4 * hidden_size])
        self.gain_cell = nn.Parameter(torch.empty(hidden_size))
        self.bias_cell = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One step from the projected input, (B, 4H)."""
        product = torch.mm(state.hidden, self.weight_hidden)
        gates = projected + self.normalise_parts(product, self.gain_hidden)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget_gate) * state.cell
        cell = cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        hidden = torch.tanh(normalise(cell, self.gain_cell) + self.bias_cell)
        hidden = torch.sigmoid(output_gate) * hidden
        return hidden, LSTMState(hidden, cell)

    def forget_bias(self) -> Tensor:
        """(H,), a view of the forget gate's bias."""
        return self.bias[self.hidden_size : 2 * self.hidden_size]


class LayerNormGRUCell(NormalisedCell[HiddenState]):
    """As `charlm.recurrent.gru.GRUCell` with the reset "after", with four layer normalisations.

    ::

        r, z = LN(x W_input[r, z]) + LN(h W_hidden[r, z]) + b[r, z]
        n  = tanh(LN(x W_input[n]) + b[n] + sigmoid(r) * (LN(h W_hidden[n]) + b_candidate))
        h' = (1 - sigmoid(z)) * n + sigmoid(z) * h

    Shapes: x (B, I), h (B, H), W_input (I, 3H), W_hidden (H, 3H), b (3H,), b_candidate (H,).
    """

    state_type = HiddenState

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, parts=[2 * hidden_size, hidden_size])
        self.bias_candidate = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def step(self, projected: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One step from the projected input, (B, 3H)."""
        hidden = state.hidden
        product = self.normalise_parts(torch.mm(hidden, self.weight_hidden), self.gain_hidden)
        gates, candidate = torch.split(projected, self.parts, dim=1)
        from_gates, from_candidate = torch.split(product, self.parts, dim=1)
        reset, update = torch.sigmoid(gates + from_gates).chunk(2, dim=1)
        candidate = torch.tanh(candidate + reset * (from_candidate + self.bias_candidate))
        hidden = candidate + update * (hidden - candidate)
        return hidden, HiddenState(hidden)
