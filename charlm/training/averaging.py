"""The mean of a training's weights over its steps.

A training has at most one of three means:

- ``averaging``: a running mean with a decay (Polyak and Juditsky 1992), from the first step on.
- ``swa``: the mean over the last part of the training (stochastic weight averaging, Izmailov et al.
  2018, arXiv:1803.05407).
- ``nt_asgd``: the mean from the report on at which the validation metric stops improving
  (non-monotonically triggered averaged SGD, Merity et al. 2018, arXiv:1708.02182, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charlm.task import Metric

if TYPE_CHECKING:
    from charlm.config import TrainingSection
    from charlm.training.progress import Progress


def has_mean(config: TrainingSection) -> bool:
    """Whether the settings ask for a mean."""
    return bool(config.averaging or config.swa or config.nt_asgd)


def begun(config: TrainingSection, progress: Progress) -> bool:
    """Whether the mean is of some weights by now."""
    return bool(config.averaging) or progress.averaged > 0


def new_share(config: TrainingSection, progress: Progress, share: float) -> float | None:
    """The share of the new weights in the mean after a step; None: the mean is not begun.

    It counts the step in ``progress.averaged``, the number of weights in a uniform mean.

    Args:
        progress: before the step.
        share: of the training that was done before the step, 0 to 1.
    """
    if config.averaging:
        # Early weights soon count for little: the decay grows to its final value.
        return 1 - min(config.averaging, (1 + progress.step) / (10 + progress.step))
    if config.swa:  # a training that was made longer begins it anew
        progress.averaged = progress.averaged + 1 if share >= 1 - config.swa else 0
    elif progress.averaged:
        progress.averaged += 1
    return 1 / progress.averaged if progress.averaged else None


def is_triggered(values: Sequence[float | None], metric: Metric, reports: int) -> bool:
    """Whether the last value is worse than one with at least ``reports`` values in between.

    As in the authors' code.

    Args:
        values: the validation metric of each report so far.
    """
    *before, last = (value for value in values if value is not None)
    return any(metric.is_better(value, last) for value in before[: max(0, len(before) - reports)])
