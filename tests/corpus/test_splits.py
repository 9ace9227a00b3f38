from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import split_sizes
from charlm.corpus.splits import byte_split
from charlm.errors import CorpusError, UsageError

FRACTIONS = st.tuples(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)


@given(st.integers(200, 10**9), FRACTIONS)
def test_fractions_partition(length, split):
    sizes = split_sizes(length, split)
    assert sum(sizes) == length
    assert all(abs(size - length * part) <= 1.001 for size, part in zip(sizes, split, strict=True))
    assert all(size == 0 for size, part in zip(sizes, split, strict=True) if part == 0)


@pytest.mark.parametrize(
    ("length", "split", "sizes"),
    [
        (1_115_394, (0.9, 0.1, 0), (1_003_854, 111_540, 0)),
        (100, (0.29, 0.71, 0.0), (29, 71, 0)),
        (10, (1, 0, 0), (10, 0, 0)),
        (10, [7, 2, 1], (7, 2, 1)),
        (10, [7.0, 2.0, 1.0], (7, 2, 1)),
        (1, (0.9, 0.05, 0.05), None),
        (10, (0, 0.5, 0.5), None),
        (10, (0, 5, 5), None),
        (10, (7, 2, 2), None),
    ],
)
def test_sizes(length, split, sizes):
    if sizes is None:
        with pytest.raises(CorpusError, match=r"train on|counts sum to 11, but .* 10 characters"):
            split_sizes(length, split)
    else:
        assert split_sizes(length, split) == sizes


def test_counts_are_scaled_on_demand():
    assert split_sizes(100, (1_003_854, 111_540, 0), scale_counts=True) == (89, 11, 0)


NOT_SPLITS = [
    *[(), (0.9, 0.1), (0.5, 0.4, 0.2), (-1, 5, 6), (1.5, -0.5, 0), (0, 0, 0), (1, 2.5, 3)],
    *[(math.nan, 0, 1), (math.inf, 0, 0), (math.inf, -math.inf, 0)],
    *[(1e308, 1e308, 0), (2**54, 0, 0), (10**400, 0, 0)],  # not exact as floats
]


@pytest.mark.parametrize("split", NOT_SPLITS)
def test_not_a_split(split):
    with pytest.raises(UsageError, match="not a split"):
        split_sizes(10, split)


def test_splits_in_bytes_keep_characters_whole():
    """The first end lies within the second é, the next one at its end."""
    text = "aéé时旅"
    assert byte_split([text[:2], text[2:]], (4, 1, 6)) == (2, 1, 2)
    assert byte_split([text[:2], text[2:]], (5, 3, 3)) == (3, 1, 1)
    assert byte_split(["abcdef"], (3, 2, 1)) == (3, 2, 1)
    assert byte_split(["a", "b"], (9, 9, 9)) == (2, 0, 0)
