"""How a corpus is divided into train, valid and test splits."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from charlm.errors import CorpusError, UsageError, counted, did_you_mean, shown

SPLITS = ("train", "valid", "test")
"""The names of the splits, in order."""

DEFAULT_SPLIT = (0.9, 0.05, 0.05)
Example = TypeVar("Example")

_TOLERANCE = 1e-6
_MOST = 2**53  # floats count exactly up to here


def split_sizes(
    length: int, split: Sequence[float], *, scale_counts: bool = False, unit: str = "character"
) -> tuple[int, int, int]:
    """The numbers of characters in train, valid and test; they sum to ``length``.

    Args:
        split: three fractions that sum to 1, or three numbers of characters that sum to
            ``length``. With fractions f, train ends at ``int(length * f[0])``, valid at
            ``int(length * (f[0] + f[1]))``, and test has the rest.
        scale_counts: convert counts that do not sum to ``length`` into fractions of their sum.
        unit: what is counted, in messages.

    Raises:
        UsageError: ``split`` is neither.
        CorpusError: the counts do not sum to ``length``, or the train split would be empty.
    """
    in_range = len(split) == 3 and all(0 <= part <= _MOST for part in split)  # False for NaN
    total = math.fsum(split) if in_range else 0
    fractions = abs(total - 1) <= _TOLERANCE
    if total == 0 or not (fractions or all(float(part).is_integer() for part in split)):
        raise UsageError(
            f"not a split: {', '.join(map(str, split))}",
            f"give train, valid and test as three fractions that sum to 1, or three {unit} counts",
        )
    if not fractions and total != length and not scale_counts:
        raise CorpusError(
            f"the split counts sum to {int(total):,}, but the text has {counted(length, unit)}",
            "let them sum to the length, or give fractions such as 0.9, 0.05, 0.05",
        )
    if fractions or total != length:
        # Without the tolerance, int(100 * 0.29) would be 28.
        train = min(length, int(length * (split[0] / total) + _TOLERANCE))
        valid = min(length, int(length * ((split[0] + split[1]) / total) + _TOLERANCE)) - train
    else:
        train, valid = int(split[0]), int(split[1])
    test = length - train - valid
    if train == 0:
        raise CorpusError(
            f"no {unit} to train on: the splits have 0, {valid:,} and {test:,} {unit}s",
            f"use a text with more {unit}s, or "
            + ("leave out --lines" if unit == "line" else "a larger first split"),
        )
    return train, valid, test


def chosen_split(split: str | None, sizes: Sequence[int], min_size: int = 1) -> str:
    """The split to use: the given one, or the first large enough one of test, valid and train.

    Raises:
        UsageError: there is no such split, or it is too small.
    """
    of = dict(zip(SPLITS, sizes, strict=True))
    enough = [name for name, size in of.items() if size >= min_size]
    if split is None:
        split = enough[-1] if enough else "train"
    if split not in of:
        raise UsageError(f"unknown split {shown(split)}", did_you_mean(split, of))
    if split not in enough:
        wrong = f"is too small: {of[split]}, not {min_size} or more" if of[split] else "is empty"
        large = f"large enough: {', '.join(enough) or 'none'}"
        raise UsageError(f"the {split} split {wrong}", large)
    return split


def byte_split(pieces: Iterable[str], split: Sequence[float]) -> tuple[int, int, int]:
    """The numbers of characters in splits whose sizes are given in bytes of UTF-8.

    A character that lies across the end of a split belongs to the next one. The last split has the
    rest of the text, which is given in ``pieces``.
    """
    ends = (int(split[0]), int(split[0] + split[1]))  # bytes
    before, characters = [0, 0], 0
    at = 0  # bytes before the piece
    for piece in pieces:
        raw = piece.encode("utf-8", "surrogatepass")
        for index, end in enumerate(ends):
            inside = raw[: max(0, end - at)]
            before[index] += len(
                piece if len(inside) == len(raw) else inside.decode("utf-8", "ignore")
            )
        at, characters = at + len(raw), characters + len(piece)
    return before[0], before[1] - before[0], characters - before[1]


def take_out(
    examples: Sequence[Example], indices: Collection[int]
) -> tuple[list[Example], list[Example]]:
    """The remaining examples, and those at ``indices``, both in their order."""
    taken = set(indices)
    remaining = [example for index, example in enumerate(examples) if index not in taken]
    return remaining, [examples[index] for index in sorted(taken)]
