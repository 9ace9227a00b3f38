"""The learning rate over the course of a training."""

from __future__ import annotations

import math


def learning_rate_factor(schedule: str, progress: float, warmup: float) -> float:
    """What the learning rate is multiplied with.

    Args:
        schedule: "constant", or "cosine": from 1 down to 0 at the end (Loshchilov and Hutter
            2017).
        progress: part of the training that is over, 0 to 1.
        warmup: part of the training in which the factor rises in a line from 0.
    """
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))
