"""Layers made of layers: several on top of each other, and dropout between them and on weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from charlm.recurrent.cell import recurrent_weights
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.states import StackState


class LockedDropout(nn.Module):
    """Dropout with one mask per sequence and row, the same at every step.

    Gal and Ghahramani (2016), "A theoretically grounded application of dropout in recurrent
    neural networks".
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, xs: Tensor) -> Tensor:
        """(T, B, F) to the same shape."""
        if not self.training or self.probability == 0:
            return xs
        return xs * F.dropout(torch.ones_like(xs[:1]), self.probability)  # (1, B, F) mask


class WeightDropout(RecurrentLayer):
    """A layer with dropout on its hidden-to-hidden weights, drawn once per sequence.

    Merity et al. (2018), "Regularizing and optimizing LSTM language models", section 2.
    """

    def __init__(self, layer: RecurrentLayer, probability: float) -> None:
        super().__init__()
        self.layer = layer
        self.probability = probability
        self.input_size, self.output_size = layer.input_size, layer.output_size
        self.bidirectional = layer.bidirectional

    def initial_state(self, batch_size: int) -> Any:
        """The layer's."""
        return self.layer.initial_state(batch_size)

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, Any]:
        """As the layer; in training mode, with the dropped weights."""
        found: tuple[Tensor, Any]
        if not self.training or self.probability == 0:
            found = self.layer(xs, state, lengths, outputs_only=outputs_only)
            return found
        names = recurrent_weights(self.layer)
        dropped = {n: drop_entries(self.layer.get_parameter(n), self.probability) for n in names}
        found = functional_call(
            self.layer, dropped, (xs, state, lengths), {"outputs_only": outputs_only}
        )
        return found


def drop_entries(weights: Tensor, probability: float) -> Tensor:
    """Dropout, faster than F.dropout for large tensors on the CPU.

    There the probability is rounded to 256ths, because a byte of randomness decides on each
    entry. One draw for each entry would take a fifth of the time of a training step.
    """
    if weights.device.type != "cpu":
        return F.dropout(weights, probability)
    dropped = min(round(256 * probability), 255)  # of the 256 values of a byte
    words = torch.empty((weights.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    # Zeros and ones stay bytes: a bool or float mask would take as long as all the rest.
    kept = words.view(torch.uint8)[: weights.numel()].view_as(weights).ge_(dropped)
    return weights * kept * (256 / (256 - dropped))


class Stack(RecurrentLayer):
    """Layers on top of each other, with locked dropout between them.

    ::

        y_1 = layer_1(x)
        y_l = layer_l(dropout(y_(l-1)))                         the output is the top layer's
        y_l = layer_l(dropout(y_(l-1))) + y_(l-1)               residual, where the sizes agree
        y_l = layer_l(dropout(y_(l-1)), x)                      skip; the output is y_1, ..., y_L

    Both can be had together. Skip connections: Graves (2013), arXiv:1308.0850, section 2. Residual
    connections: He et al. (2015), arXiv:1512.03385; between LSTMs: Wu et al. (2016),
    arXiv:1609.08144, section 3.1.

    Args:
        residual: whether a layer's input is added to its output; not that of the lowest layer.
        skip: whether every layer also sees the stack's input, and the output has that of every
            layer. Outputs of bidirectional layers are in the order: all forwards, all backwards.

    Raises:
        ValueError: there is no layer.
    """

    def __init__(
        self,
        layers: Iterable[RecurrentLayer],
        *,
        dropout: float,
        residual: bool = False,
        skip: bool = False,
    ) -> None:
        super().__init__()
        layers = list(layers)
        if not layers:
            raise ValueError("a stack needs at least one layer")
        self.input_size = layers[0].input_size
        self.output_size = sum(layer.output_size for layer in (layers if skip else layers[-1:]))
        self.bidirectional = layers[-1].bidirectional
        self.layers = nn.ModuleList(layers)
        self.dropout = LockedDropout(dropout)
        self.residual, self.skip = residual, skip

    def initial_state(self, batch_size: int) -> StackState:
        """The layers' initial states."""
        return tuple(layer.initial_state(batch_size) for layer in self._layers())

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, StackState]:
        """(T, B, I) or (T, B) token ids to the (T, B, O) outputs and all final states."""
        outputs, last = self._run(xs, state, lengths, outputs_only)
        if not self.skip:
            return outputs[-1], last
        directions = [each.chunk(1 + self.bidirectional, dim=-1) for each in outputs]
        parts = [part for direction in zip(*directions, strict=True) for part in direction]
        return torch.cat(parts, dim=-1), last

    def layer_outputs(self, xs: Tensor, state: Any) -> list[Tensor]:
        """The (T, B, O) outputs of each layer, from the bottom up; arguments as in `forward`."""
        return self._run(xs, state, None, True)[0]

    def _run(
        self, xs: Tensor, state: Any, lengths: Tensor | None, outputs_only: bool
    ) -> tuple[list[Tensor], StackState]:
        """The outputs and the final state of each layer."""
        outputs: list[Tensor] = []
        last = []
        for layer, layer_state in zip(self._layers(), state, strict=True):
            below = outputs[-1] if outputs else None
            inputs = xs if below is None else self.dropout(below)
            if self.skip and below is not None:
                features = xs if xs.is_floating_point() else F.one_hot(xs, self.input_size)
                inputs = torch.cat([inputs, features.to(inputs.dtype)], dim=-1)
            found, layer_state = layer(inputs, layer_state, lengths, outputs_only=outputs_only)
            if self.residual and below is not None and below.shape == found.shape:
                found = found + below
            outputs.append(found)
            last.append(layer_state)
        return outputs, tuple(last)

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]
