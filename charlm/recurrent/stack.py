"""Wrappers that are layers themselves: depth, and dropout between layers and on weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from charlm.recurrent.core import LayerState, RecurrentLayer


class LockedDropout(nn.Module):
    """Dropout whose mask is drawn once per sequence and row and holds for all its steps.

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
    """A layer whose hidden-to-hidden weights lose entries at random, once per sequence.

    Merity et al. (2018), "Regularizing and optimizing LSTM language models", section 2.
    """

    def __init__(self, layer: RecurrentLayer, probability: float) -> None:
        super().__init__()
        self.layer = layer
        self.probability = probability
        self.input_size, self.output_size = layer.input_size, layer.output_size
        self.recurrent_weight = f"layer.{layer.recurrent_weight}"

    def initial_state(self, batch_size: int) -> LayerState:
        """The layer's."""
        return self.layer.initial_state(batch_size)

    def forward(
        self,
        xs: Tensor,
        state: LayerState,
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, LayerState]:
        """As the layer, with the dropped weights while training."""
        if not self.training or self.probability == 0:
            outputs, state = self.layer(xs, state, lengths, final_state=final_state)
            return outputs, state
        name = self.layer.recurrent_weight
        dropped = drop_entries(self.layer.get_parameter(name), self.probability)
        outputs, state = functional_call(
            self.layer, {name: dropped}, (xs, state, lengths), {"final_state": final_state}
        )
        return outputs, state


def drop_entries(weights: Tensor, probability: float) -> Tensor:
    """As F.dropout, quicker for large tensors on the CPU, where the probability counts in 256ths.

    A byte of randomness decides on each entry, and a draw of the generator gives eight of them;
    a draw for each entry would take a fifth of a training step's time.
    """
    if weights.device.type != "cpu":
        return F.dropout(weights, probability)
    dropped = min(round(256 * probability), 255)  # of the 256 values of a byte
    words = torch.empty((weights.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.uint8)[: weights.numel()].view_as(weights) >= dropped
    return weights * (kept.to(weights.dtype) * (256 / (256 - dropped)))


class Stack(nn.Module):
    """Layers on top of each other, with locked dropout between them.

    The state is a tuple, one layer's state each, from the bottom up.
    """

    def __init__(self, layers: Iterable[RecurrentLayer], dropout: float = 0.0) -> None:
        super().__init__()
        layers = list(layers)
        self.output_size = layers[-1].output_size
        self.layers = nn.ModuleList(layers)
        self.dropout = LockedDropout(dropout)

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """Zeros for each layer."""
        return tuple(layer.initial_state(batch_size) for layer in self.layers)  # type: ignore[operator]

    def forward(
        self,
        xs: Tensor,
        state: tuple[LayerState, ...],
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, tuple[LayerState, ...]]:
        """(T, B, I) or (T, B) token ids to the top layer's (T, B, O) and all final states."""
        states = []
        for depth, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            if depth > 0:
                xs = self.dropout(xs)
            xs, layer_state = layer(xs, layer_state, lengths, final_state=final_state)
            states.append(layer_state)
        return xs, tuple(states)
