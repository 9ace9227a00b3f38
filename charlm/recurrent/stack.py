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

    Raises:
        ValueError: there is no layer.
    """

    def __init__(self, layers: Iterable[RecurrentLayer], *, dropout: float) -> None:
        super().__init__()
        layers = list(layers)
        if not layers:
            raise ValueError("a stack needs at least one layer")
        self.input_size, self.output_size = layers[0].input_size, layers[-1].output_size
        self.bidirectional = layers[-1].bidirectional
        self.layers = nn.ModuleList(layers)
        self.dropout = LockedDropout(dropout)

    def initial_state(self, batch_size: int) -> StackState:
        """The layers' initial states."""
        return tuple(layer.initial_state(batch_size) for layer in self._layers())

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, StackState]:
        """(T, B, I) or (T, B) token ids to the top layer's (T, B, O) and all final states."""
        last = []
        for depth, (layer, layer_state) in enumerate(zip(self._layers(), state, strict=True)):
            xs = self.dropout(xs) if depth else xs
            xs, layer_state = layer(xs, layer_state, lengths, outputs_only=outputs_only)
            last.append(layer_state)
        return xs, tuple(last)

    def layer_outputs(self, xs: Tensor, state: Any) -> list[Tensor]:
        """The (T, B, O) outputs of each layer, from the bottom up; arguments as in `forward`."""
        found = []
        for depth, (layer, layer_state) in enumerate(zip(self._layers(), state, strict=True)):
            xs = layer.outputs(self.dropout(xs) if depth else xs, layer_state)
            found.append(xs)
        return found

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]
