"""Learning rate schedules by name. To add a schedule, add a function to ``SCHEDULES``."""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST_FACTOR = 0.01  # of warm-up: at 0, the first update would change nothing
COOL_DOWN = 0.2  # the part of a trapezoid in which the learning rate falls


def constant(progress: float) -> float:
    """1 throughout."""
    return 1.0


def cosine(progress: float) -> float:
    """Half a cosine wave, from 1 down to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """A straight line from 1 down to 0."""
    return 1 - progress


def trapezoid(progress: float) -> float:
    """1, then a straight line down to 0 over the last fifth.

    With warm-up it is also called warmup-stable-decay (Haegele et al. 2024, arXiv:2405.18392).
    """
    return min(1.0, (1 - progress) / COOL_DOWN)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "plateau": constant,  # times a factor that `charlm.training.reports` reduces
    "trapezoid": trapezoid,
}
"""Each takes the part of the training after warm-up that is done, 0 to 1, and returns the factor of
the learning rate."""


def learning_rate_factor(schedule: str, progress: float, warmup: float) -> float:
    """The factor that the learning rate is multiplied by.

    Args:
        schedule: one of `SCHEDULES`.
        progress: the part of the training that is done, 0 to 1.
        warmup: the part of the training in which the factor rises linearly from 0.01 to 1.

    Raises:
        ValueError: there is no such schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; known: {', '.join(SCHEDULES)}")
    if progress < warmup:
        return FIRST_FACTOR + (1 - FIRST_FACTOR) * progress / warmup
    return SCHEDULES[schedule](min(1.0, (progress - warmup) / (1 - warmup)))
