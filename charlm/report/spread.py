"""The spread of a metric over seeds, and whether the means of two groups of seeds differ."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

CONFIDENCE = 0.95  # that all intervals of a comparison hold at once


@dataclass(frozen=True)
class Spread:
    """N values of a metric, one for each seed."""

    values: Sequence[float]

    @cached_property
    def mean(self) -> float | None:
        """The mean; None: there are no values."""
        return statistics.fmean(self.values) if self.values else None

    @cached_property
    def deviation(self) -> float | None:
        """The standard deviation of a sample, with N - 1 below; None: fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def error(self) -> float:
        """The standard error of the mean, the deviation / sqrt(N); N is at least 2."""
        assert self.deviation is not None
        return self.deviation / math.sqrt(len(self.values))


@dataclass(frozen=True)
class Difference:
    """The mean of one group minus the mean of another, and its interval."""

    mean: float
    margin: float  # the interval is mean - margin to mean + margin

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.margin


def difference(one: Spread, other: Spread, pairs: int = 1) -> Difference:
    """Welch's interval of the difference of two means (Welch 1947, Biometrika 34).

    The margin is t * e with e^2 = e1^2 + e2^2, the standard errors of the two means. t is the
    quantile of Student's distribution with the degrees of freedom of Welch and Satterthwaite,
    e^4 / (e1^4 / (N1 - 1) + e2^4 / (N2 - 1)), rounded down. Neither equal variances nor equal
    numbers of seeds are assumed; the values of each group are taken as drawn from a normal
    distribution.

    Args:
        one: at least two values, as in ``other``.
        pairs: how many intervals are looked at; all of them hold with the probability `CONFIDENCE`
            (Bonferroni's correction: each misses with the probability (1 - CONFIDENCE) / pairs).
    """
    assert one.mean is not None
    assert other.mean is not None
    freedoms = len(one.values) - 1, len(other.values) - 1
    error, freedom = math.hypot(one.error, other.error), sum(freedoms)
    if error:
        shares = ((each.error / error) ** 2 for each in (one, other))
        below = sum(share**2 / n for share, n in zip(shares, freedoms, strict=True))
        freedom = max(1, math.floor(1 / below + 1e-9))
    t = student_quantile(1 - (1 - CONFIDENCE) / pairs, freedom)
    return Difference(one.mean - other.mean, t * error)


def student_quantile(inside: float, freedom: int) -> float:
    """The t for which Student's distribution has this probability between -t and t.

    Bisection on theta, with t = sqrt(freedom) tan(theta).

    Args:
        inside: above 0 and below 1.
        freedom: a whole number of degrees of freedom, at least 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        theta = (low + high) / 2
        low, high = (theta, high) if _inside(theta, freedom) < inside else (low, theta)
    return math.sqrt(freedom) * math.tan(low)


def _inside(theta: float, freedom: int) -> float:
    """The probability between -t and t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = freedom % 2
    total, term = 0.0, cosine if odd else 1.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def ranks(spreads: Sequence[Spread], *, higher_is_better: bool) -> list[tuple[int, int] | None]:
    """The best and the worst rank of each group that the seeds allow.

    A group whose rank is 1 to 2 is better than all but one of the others, and no difference between
    it and that one is shown. None: the group has fewer than two values, so it is not ranked.
    """
    known = [spread for spread in spreads if spread.deviation is not None]
    found: list[tuple[int, int] | None] = []
    for spread in spreads:
        if spread.deviation is None:
            found.append(None)
            continue
        others = [each for each in known if each is not spread]
        pairs = count_pairs(len(known))
        differences = [difference(spread, each, pairs) for each in others]
        above = [each.mean > 0 for each in differences if each.is_shown]
        better = sum(each == higher_is_better for each in above)
        found.append((1 + len(above) - better, len(known) - better))
    return found


def count_pairs(groups: int) -> int:
    """The number of pairs of groups, at least 1."""
    return max(1, math.comb(groups, 2))
