"""A sum of losses, divided once at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LossSum:
    """The summed cross-entropy of some items, in nats, and the number of items."""

    nats: float
    count: int

    def __add__(self, other: LossSum) -> LossSum:
        """The sum over both sets of items."""
        return LossSum(self.nats + other.nats, self.count + other.count)

    @property
    def mean(self) -> float:
        """Mean cross-entropy in nats per item."""
        return self.nats / self.count

    @property
    def perplexity(self) -> float:
        """exp of the mean cross-entropy; infinite if it overflows."""
        return perplexity(self.mean)


def perplexity(mean: float) -> float:
    """exp of a mean cross-entropy in nats; infinite if it overflows."""
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf
