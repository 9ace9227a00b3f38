"""Welch's intervals against the integral of Student's density, and what ranks they allow."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charlm.report.spread import Spread, difference, ranks, student_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 31, 200])
@pytest.mark.parametrize("inside", [0.5, 0.95, 0.995])
def test_the_quantile_agrees_with_the_integral_of_the_density(inside, freedom):
    end = math.atan(student_quantile(inside, freedom) / math.sqrt(freedom))
    theta = end * (np.arange(100_000) + 0.5) / 100_000  # the middles of equal parts
    log_factor = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    density = math.exp(log_factor) / math.sqrt(math.pi) * np.cos(theta) ** (freedom - 1)
    assert 2 * end * density.mean() == pytest.approx(inside, abs=1e-8)


def test_welchs_interval_of_an_example():
    """Means 2 and 6, standard errors 1 and 2, so e^2 = 5 and the freedom is 25 / (1/2 + 16/2)."""
    one = Spread([2 - 3**0.5, 2.0, 2 + 3**0.5])
    other = Spread([6 - 12**0.5, 6.0, 6 + 12**0.5])
    assert (one.error, other.error) == (pytest.approx(1), pytest.approx(2))
    found = difference(one, other)
    assert found.mean == pytest.approx(-4)
    assert found.margin == pytest.approx(4.3026527 * 5**0.5)  # t of 2 degrees of freedom
    assert not found.is_shown
    assert difference(one, other, pairs=5).margin == pytest.approx(9.9248432 * 5**0.5)  # at 99%


def test_equal_values_have_no_margin_and_one_value_no_deviation():
    assert difference(Spread([2.0, 2.0]), Spread([2.0, 2.0])).margin == 0
    assert not difference(Spread([2.0, 2.0]), Spread([2.0, 2.0])).is_shown
    assert difference(Spread([2.0, 2.0]), Spread([3.0, 3.0])).is_shown
    assert (Spread([]).mean, Spread([2.0]).mean, Spread([2.0]).deviation) == (None, 2.0, None)


def test_intervals_of_equal_groups_hold_as_often_as_they_say():
    """Of 2,000 pairs of groups of three seeds with unequal spreads, about 95% include 0."""
    draws = np.random.default_rng(0).normal(size=(2000, 2, 3)) * [[1.0], [4.0]]
    inside = [not difference(Spread(a), Spread(b)).is_shown for a, b in draws.tolist()]
    assert 0.94 < np.mean(inside) < 0.985  # rounding the degrees of freedom down adds a little


def test_ranks_overlap_where_no_difference_is_shown():
    near, same, far, single, none = (
        Spread(values)
        for values in ([1.0, 1.1, 1.2], [1.05, 1.1, 1.25], [9.0, 9.1, 9.2], [0.5], [])
    )
    groups = [near, same, far, single, none]
    assert ranks(groups, higher_is_better=False) == [(1, 2), (1, 2), (3, 3), None, None]
    assert ranks(groups, higher_is_better=True) == [(2, 3), (2, 3), (1, 1), None, None]
    assert ranks([near], higher_is_better=True) == [(1, 1)]
