"""nn.RNN, nn.GRU and nn.LSTM as layers of this package, and the exchange of weights with them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import check_lengths, pack, unpack, valid_steps
from charlm.recurrent.states import HiddenState, LSTMState


class TorchLayer(RecurrentLayer):
    """One layer of nn.RNN, nn.GRU or nn.LSTM, in one direction.

    Args:
        network: with ``num_layers=1``, time-major, with biases. Torch's networks take features
            only, so token ids become one-hot vectors.
    """

    recurrent_weights = ("network.weight_hh_l0",)

    def __init__(self, network: nn.RNNBase) -> None:
        super().__init__()
        assert network.num_layers == 1
        assert not network.batch_first
        assert not network.bidirectional
        self.network = network
        self.input_size, self.output_size = network.input_size, network.hidden_size

    def initial_state(self, batch_size: int) -> HiddenState | LSTMState:
        """Zeros, (B, H) each."""
        weight = self.get_parameter("network.weight_hh_l0")
        zeros = weight.new_zeros(batch_size, self.output_size)
        if isinstance(self.network, nn.LSTM):
            return LSTMState(zeros, zeros.clone())
        return HiddenState(zeros)

    def forward(
        self, xs: Tensor, state: HiddenState | LSTMState, lengths: Tensor | None = None
    ) -> tuple[Tensor, HiddenState | LSTMState]:
        """(T, B, I) or (T, B) token ids to (T, B, H) and the state after each row's last step."""
        if lengths is None:
            return self._run(self._features(xs, state), state)
        packed = pack(xs, lengths)
        packed = packed._replace(data=self._features(packed.data, state))
        outputs, last = self._run(packed, state)
        return unpack(outputs, len(xs)), last

    def outputs(
        self, xs: Tensor, state: HiddenState | LSTMState, lengths: Tensor | None = None
    ) -> Tensor:
        """(T, B, I) or (T, B) token ids to (T, B, H).

        Reads the padding too and then sets its outputs to zero, which takes a tenth of the time
        of packed sequences on a CPU. Not with relu: on the padding its outputs could overflow,
        and the gradients would be NaN.
        """
        if lengths is None or self.network.mode == "RNN_RELU":
            return super().outputs(xs, state, lengths)
        check_lengths(lengths, xs)
        outputs, _ = self._run(self._features(xs, state), state)
        padding = ~valid_steps(lengths.to(xs.device), len(xs))
        masked: Tensor = outputs.masked_fill(padding.unsqueeze(2), 0)
        return masked

    def forget_bias(self) -> Tensor | None:
        """(H,) of nn.LSTM, a view of the forget gate's first bias; None of the other networks."""
        if not isinstance(self.network, nn.LSTM):
            return None
        return self.get_parameter("network.bias_ih_l0")[self.output_size : 2 * self.output_size]

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
def copy_to_torch(cell: RecurrentCell[Any], network: nn.Module, part: str = "l0") -> None:
    """Copy a scratch cell's weights to a torch ``network`` of the same kind and sizes.

    Args:
        part: torch's name for the layer and direction: "l0", "l0_reverse", "l1", ...

    Raises:
        ValueError: the weights differ in number or shape, or no torch network computes the same.
    """
    targets = _matching_weights(cell, network, part)
    for name, weight in cell.to_torch().items():
        targets[name].copy_(weight)


@torch.no_grad()
def copy_from_torch(network: nn.Module, cell: RecurrentCell[Any], part: str = "l0") -> None:
    """Copy the weights of a torch ``network`` to a scratch cell of the same kind and sizes.

    Arguments and errors are those of `copy_to_torch`.
    """
    weights = cell.from_torch(_matching_weights(cell, network, part))
    for name, parameter in cell.named_parameters():
        parameter.copy_(weights[name])


def torch_weights(network: nn.Module, part: str) -> dict[str, Tensor]:
    """The weights of one layer and direction, by torch's names without its ending ``part``."""
    end = f"_{part}"
    return {
        name.removesuffix(end): weight
        for name, weight in network.named_parameters()
        if name.endswith(end)
    }


def _matching_weights(cell: RecurrentCell[Any], network: nn.Module, part: str) -> dict[str, Tensor]:
    weights = torch_weights(network, part)
    ours, theirs = (
        {name: tuple(weight.shape) for name, weight in each.items()}
        for each in (cell.to_torch(), weights)
    )
    if ours != theirs:
        raise ValueError(f"the cell has weights of the shapes {ours}, the network {theirs}")
    return weights
