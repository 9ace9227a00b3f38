"""nn.RNN, nn.GRU and nn.LSTM as layers of this package, and the exchange of weights with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import check_lengths, pack, unpack, valid_steps
from charlm.recurrent.states import HiddenState, LSTMState

# With weight dropout each batch has new weights, so cuDNN must pack them again for each. It warns
# of that, and there is nothing to be done about it.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")


class TorchLayer(RecurrentLayer):
    """One layer of nn.RNN, nn.GRU or nn.LSTM, in one direction.

    Torch's networks take features only, so token ids become one-hot vectors.

    Args:
        network: with ``num_layers=1``, time-major, with biases.
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
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, Any]:
        """(T, B, I) or (T, B) token ids to (T, B, H) and the state after each row's last step.

        With ``outputs_only`` it reads the padding too and then sets its outputs to zero, which
        takes a tenth of the time of packed sequences on a CPU. Not with relu: on the padding its
        outputs could overflow, and the gradients would be NaN.
        """
        if lengths is None:
            features = self._features(xs, state)
            if isinstance(state, LSTMState) and len(xs) == 1 and not torch.is_grad_enabled():
                # In a step, nn.LSTM would spend most of the time on packing its weights.
                weights = self.network.all_weights[0]
                hidden, cell = torch.lstm_cell(features[0], state, *weights)
                return hidden.unsqueeze(0), LSTMState(hidden, cell)
            return self._run(features, state)
        if outputs_only and self.network.mode != "RNN_RELU":
            check_lengths(lengths, xs)
            outputs, _ = self(xs, state)
            padding = ~valid_steps(lengths.to(xs.device), len(xs))
            return outputs.masked_fill(padding.unsqueeze(2), 0), None
        packed = pack(xs, lengths)
        packed = packed._replace(data=self._features(packed.data, state))
        outputs, last = self._run(packed, state)
        return unpack(outputs, len(xs)), last

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
        outputs, last = run_network(self.network, xs, [tensor.unsqueeze(0) for tensor in state])
        return outputs, type(state)(*(tensor.squeeze(0) for tensor in last))


def run_network(
    network: nn.Module, xs: Tensor | PackedSequence, first: Sequence[Tensor]
) -> tuple[Any, tuple[Tensor, ...]]:
    """Outputs and final states of a torch network. Torch has no tuple around a single state."""
    several = len(first) > 1
    outputs, last = network(xs, tuple(first) if several else first[0])
    return outputs, last if several else (last,)


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
    """The inverse of `copy_to_torch`, with the same arguments and errors."""
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
    ours = {name: tuple(weight.shape) for name, weight in cell.to_torch().items()}
    theirs = {name: tuple(weight.shape) for name, weight in weights.items()}
    if ours != theirs:
        raise ValueError(f"the cell has weights of the shapes {ours}, the network {theirs}")
    return weights
