"""nn.RNN, nn.GRU and nn.LSTM as layers of this package, and the exchange of weights.

The scratch cells keep their weights as (inputs, gates), torch as (gates, inputs); the gates lie
in the same order in both.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from charlm.recurrent.core import (
    HiddenState,
    LayerState,
    LSTMState,
    RecurrentCell,
    RecurrentLayer,
    State,
)
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.padding import check_lengths, pack, unpack, valid_steps


class TorchLayer(RecurrentLayer):
    """One layer of nn.RNN, nn.GRU or nn.LSTM, in one direction.

    Args:
        network: with ``num_layers=1``, time-major, with biases. Token ids given to it are made
            one-hot, as these modules take features alone.
    """

    recurrent_weight = "network.weight_hh_l0"

    def __init__(self, network: nn.RNNBase) -> None:
        super().__init__()
        assert network.num_layers == 1
        assert not network.batch_first
        assert not network.bidirectional
        self.network = network
        self.input_size, self.output_size = network.input_size, network.hidden_size

    def initial_state(self, batch_size: int) -> State:
        """Zeros, (B, H) each."""
        weight = self.get_parameter(self.recurrent_weight)
        zeros = weight.new_zeros(batch_size, self.output_size)
        if isinstance(self.network, nn.LSTM):
            return LSTMState(zeros, zeros.clone())
        return HiddenState(zeros)

    def forward(
        self,
        xs: Tensor,
        state: LayerState,
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, State]:
        """(T, B, I) or (T, B) token ids to (T, B, H) and the state after each row's last step."""
        assert isinstance(state, HiddenState | LSTMState)
        if lengths is None:
            return self._run(self._features(xs, state), state)
        if not final_state and self.network.mode != "RNN_RELU":
            # A tenth of the time of packed sequences, on a CPU: it reads the padding too, whose
            # outputs are then taken away, and only the state after it is wrong. (Not with relu:
            # what it makes of the padding could overflow, and then the gradient is no number.)
            check_lengths(lengths, xs)
            outputs, state = self._run(self._features(xs, state), state)
            ended = ~valid_steps(lengths.to(xs.device), len(xs))
            return outputs.masked_fill(ended.unsqueeze(2), 0), state
        packed = pack(xs, lengths)
        packed = packed._replace(data=self._features(packed.data, state))
        outputs, last = self._run(packed, state)
        return unpack(outputs, len(xs)), last

    def _features(self, xs: Tensor, state: HiddenState | LSTMState) -> Tensor:
        if xs.dtype == torch.int64:
            return F.one_hot(xs, self.input_size).to(state.hidden.dtype)
        return xs

    def _run(
        self, xs: Tensor | PackedSequence, state: HiddenState | LSTMState
    ) -> tuple[Any, HiddenState | LSTMState]:
        if isinstance(state, LSTMState):
            outputs, (hidden, cell) = self.network(
                xs, (state.hidden.unsqueeze(0), state.cell.unsqueeze(0))
            )
            return outputs, LSTMState(hidden.squeeze(0), cell.squeeze(0))
        outputs, hidden = self.network(xs, state.hidden.unsqueeze(0))
        return outputs, HiddenState(hidden.squeeze(0))


@torch.no_grad()
def copy_to_torch(cell: RecurrentCell, network: nn.RNNBase, part: str = "l0") -> None:
    """Give ``network`` the weights of a scratch cell of the same kind and sizes.

    Args:
        part: what torch calls the layer and the direction: "l0", "l0_reverse", "l1", ...

    Raises:
        ValueError: the shapes differ, or no torch network does what the cell does.
    """
    weight_input, weight_hidden, bias_input, bias_hidden = _torch_weights(cell, network, part)
    weight_input.copy_(cell.weight_input.T)
    weight_hidden.copy_(cell.weight_hidden.T)
    bias_input.copy_(cell.bias)
    bias_hidden.zero_()
    if isinstance(cell, GRUCell):
        bias_hidden[-cell.output_size :] = cell.bias_candidate


@torch.no_grad()
def copy_from_torch(network: nn.RNNBase, cell: RecurrentCell, part: str = "l0") -> None:
    """Give a scratch cell the weights of a ``network`` of the same kind and sizes.

    Arguments and errors are those of `copy_to_torch`.
    """
    weight_input, weight_hidden, bias_input, bias_hidden = _torch_weights(cell, network, part)
    cell.weight_input.copy_(weight_input.T)
    cell.weight_hidden.copy_(weight_hidden.T)
    cell.bias.copy_(bias_input)
    if isinstance(cell, GRUCell):
        # The candidate's hidden bias is inside the reset, so it cannot join the other one.
        gates = len(bias_hidden) - cell.output_size
        cell.bias[:gates].add_(bias_hidden[:gates])
        cell.bias_candidate.copy_(bias_hidden[gates:])
    else:
        cell.bias.add_(bias_hidden)


def _torch_weights(cell: RecurrentCell, network: nn.RNNBase, part: str) -> list[Tensor]:
    """Torch's weights in the order of the cell's: input, hidden, input bias, hidden bias."""
    if isinstance(cell, GRUCell) and cell.reset == "before":
        raise ValueError("nn.GRU resets after the product; this cell resets before it")
    if isinstance(cell, JordanCell) or (isinstance(cell, LSTMCell) and cell.peepholes):
        raise ValueError("torch has no Jordan network and no LSTM with peepholes")
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights: list[Tensor] = [network.get_parameter(f"{name}_{part}") for name in names]
    for ours, theirs in zip((cell.weight_input, cell.weight_hidden), weights, strict=False):
        if ours.T.shape != theirs.shape:
            raise ValueError(f"the cell has {tuple(ours.T.shape)}, torch {tuple(theirs.shape)}")
    return weights
