"""The optimiser, the global gradient norm and the average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from charlm.config import TrainingConfig


def build_optimiser(config: TrainingConfig, model: nn.Module) -> Optimizer:
    """SGD without momentum, Adam or AdamW, by name.

    Weight decay leaves biases alone.
    """
    if config.optimiser == "sgd":
        return SGD(model.parameters(), lr=config.lr)
    if config.optimiser == "adam":
        return Adam(model.parameters(), lr=config.lr)
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients down together so that their global norm is at most ``max_norm``.

    Pascanu et al. (2013); Dive into Deep Learning, section 8.5.5.

    Args:
        max_norm: 0: leave them as they are.

    Returns:
        The norm before clipping; where it is not finite, nothing was scaled.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    if 0 < max_norm < norm < float("inf"):
        torch._foreach_mul_(gradients, max_norm / norm)
    return norm


class WeightAverage:
    """An exponential moving average of a model's weights.

    After step t the decay is min(decay, (1 + t) / (10 + t)), so that the first weights, which
    are random, are soon forgotten. Polyak and Juditsky (1992); Izmailov et al. (2018).

    Args:
        decay: 0: the average is the weights themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = [parameter.data for parameter in model.parameters()]
        self._averages = [parameter.clone() for parameter in self._parameters] if decay else []
        self._steps = 0

    def update(self) -> None:
        """Take the weights in, after an optimiser's step."""
        if self._averages:
            self._steps += 1
            decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights within, and its own again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for parameter, average in zip(self._parameters, self._averages, strict=False):
            kept = parameter.clone()
            parameter.copy_(average)
            average.copy_(kept)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights, on the CPU, by name; tied ones once."""
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
    }
