"""Sizes of the train, valid and test splits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from charlm.errors import CorpusError, UsageError

DEFAULT_SPLIT = (0.9, 0.05, 0.05)
_TOLERANCE = 1e-6
_MOST = 2**53  # beyond it a float is no exact count, and a sum may be too large for a float


def split_sizes(
    length: int, split: Sequence[float], *, scale_counts: bool = False
) -> tuple[int, int, int]:
    """How many of ``length`` characters go to train, valid and test; the sum is ``length``.

    Args:
        split: three fractions that sum to 1, or three numbers of characters that sum to
            ``length``. With fractions f, train ends at ``int(length * f[0])``, valid at
            ``int(length * (f[0] + f[1]))``, and test has the rest.
        scale_counts: turn counts that do not sum to ``length`` into fractions of their sum.

    Raises:
        UsageError: ``split`` is not of either kind.
        CorpusError: counts do not sum to ``length``, or nothing is left to train on.
    """
    if len(split) != 3 or not all(0 <= part <= _MOST for part in split):  # nor NaN
        raise _not_a_split(split)
    total = math.fsum(split)
    if abs(total - 1) > _TOLERANCE:
        if not all(float(part).is_integer() for part in split) or total == 0:
            raise _not_a_split(split)
        if total == length:
            train, valid, test = (int(part) for part in split)
            return _with_train(train, valid, test)
        if not scale_counts:
            raise CorpusError(
                f"the split counts sum to {int(total):,}, but the text has {length:,} characters",
                "let them sum to the length, or give fractions such as 0.9, 0.05, 0.05",
            )
    # The tolerance keeps 100 * 0.29 from becoming 28.
    train_end = min(length, int(length * (split[0] / total) + _TOLERANCE))
    valid_end = min(length, int(length * ((split[0] + split[1]) / total) + _TOLERANCE))
    return _with_train(train_end, valid_end - train_end, length - valid_end)


def _with_train(train: int, valid: int, test: int) -> tuple[int, int, int]:
    if train == 0:
        raise CorpusError(
            f"no character to train on: splits of 0, {valid:,} and {test:,} characters",
            "use a longer text or a larger first split",
        )
    return train, valid, test


def _not_a_split(split: Sequence[float]) -> UsageError:
    return UsageError(
        f"not a split: {', '.join(map(str, split))}",
        "give train, valid and test as three fractions that sum to 1, or three character counts",
    )
