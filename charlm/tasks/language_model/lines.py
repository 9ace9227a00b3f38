"""A text whose lines are examples: each has a start and an end, and their order is drawn.

A line is written with its line end, which is the last character that is predicted. The line end of
the line before, or of nothing, stands before its first character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from charlm.corpus.splits import SPLITS, split_sizes
from charlm.errors import CorpusError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.integer]

BOUNDARY = "\n"
_BLOCK = 2**17  # characters of lines that are hashed or moved at once
_FACTORS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of splitmix64


class LineIds(NamedTuple):
    """The lines of a text as token ids, each with its line end."""

    whole: Ids  # all lines in the order of the text
    kept: Ids  # the lines that are kept, in shuffled order
    split_sizes: tuple[int, int, int]  # ids of ``kept``; no split ends within a line
    notices: tuple[str, ...]


def arrange_lines(
    ids: Ids,
    end: int,
    *,
    distinct: bool,
    max_chars: int | None,
    split: Sequence[float],
    scale_counts: bool,
) -> LineIds:
    """Shuffle the lines of a text, and split them.

    The order depends on the number of lines alone, so the splits are the same for every seed of a
    training.

    Args:
        ids: (N,) lines, each with its line end, N > 0.
        end: the id of a line end.
        distinct: keep only the first of equal lines.
        max_chars: keep whole lines from the start of the text, at most this many characters.
        split, scale_counts: as in `split_sizes`; they count lines.

    Raises:
        CorpusError: the first line is too long, or there are too few for the train split.
        UsageError: ``split`` is not a split.
    """
    import numpy as np

    ends = np.flatnonzero(ids == end) + 1  # (L,)
    bounds = np.stack([np.append(0, ends[:-1]), ends], axis=1)  # (L, 2) start and end
    whole, hashes = ids, line_hashes(ids, end)
    if distinct:
        first = np.sort(np.unique(hashes, return_index=True)[1])
        bounds, hashes = bounds[first], hashes[first]
        whole = _joined(ids, bounds)
    number = len(bounds)
    if max_chars is not None:
        number = int(np.searchsorted(np.diff(bounds).cumsum(), max_chars, side="right"))
    if not number:
        raise CorpusError(
            f"the first line and its end have more than {max_chars:,} characters",
            "give a larger --max-chars",
        )
    shortened = number < len(bounds)
    # RandomState draws the same numbers on every machine and in every numpy (NEP 19).
    order = np.random.RandomState(0).permutation(number)
    bounds, hashes = bounds[order], hashes[order]
    train, valid, _ = split_sizes(
        number, split, scale_counts=scale_counts or shortened, unit="line"
    )
    sizes = [int(np.diff(part).sum()) for part in np.split(bounds, [train, train + valid])]
    notices = tuple(_notices(np.split(hashes, [train, train + valid]), split))
    return LineIds(whole, _joined(ids, bounds), (sizes[0], sizes[1], sizes[2]), notices)


def line_hashes(
    ids: Ids, end: int, code_points: NDArray[np.uint32] | None = None
) -> NDArray[np.uint64]:
    """A hash of each line, (L,) of 64 bits: equal for equal lines.

    Each character at each place of a line is mapped to a random number (splitmix64), and they are
    added up. Among ten million lines two different ones have the same hash with a probability of
    about 3 in a million.

    Args:
        ids: (N,) lines, each with its line end.
        end: the id of a line end.
        code_points: (V,) code point by id, to compare lines of several vocabularies; None: the ids
            themselves are hashed.
    """
    import numpy as np

    spread, *factors = map(np.uint64, _FACTORS)
    ends = np.flatnonzero(ids == end) + 1  # (L,)
    hashes = np.empty(len(ends), np.uint64)
    for lines, begins, places in _blocks(ends):
        block = ids[begins[0] : ends[lines][-1]]
        codes = (block if code_points is None else code_points[block]).astype(np.uint64)
        values = codes + places.astype(np.uint64) * spread
        for factor in factors:
            values = (values ^ (values >> np.uint64(30))) * factor
        hashes[lines] = np.add.reduceat(values ^ (values >> np.uint64(31)), begins - begins[0])
    return hashes


def _blocks(
    ends: NDArray[np.int64],
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
    """Lines that stand one after the other, in blocks of about ``_BLOCK`` characters.

    ``ends`` are the (L,) places after them, the first begins at 0. Yields which lines they are, the
    places where they begin, and the place of each character in its line.
    """
    import numpy as np

    first = 0
    while first < len(ends):
        begin = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begin + _BLOCK, side="right")))
        begins = np.append(begin, ends[first : last - 1])
        sizes = ends[first:last] - begins
        places = np.arange(begin, ends[last - 1]) - np.repeat(begins, sizes)
        yield slice(first, last), begins, places
        first = last


def _joined(ids: Ids, bounds: NDArray[np.int64]) -> Ids:
    """The lines of ``ids`` that begin and end there, (L, 2), one after the other."""
    import numpy as np

    sizes = np.diff(bounds)[:, 0]
    ends = sizes.cumsum()
    joined = np.empty(ends[-1], ids.dtype)
    for lines, begins, places in _blocks(ends):
        moved = ids[np.repeat(bounds[lines, 0], sizes[lines]) + places]
        joined[begins[0] : begins[0] + len(moved)] = moved
    return joined


class KnownLines:
    """The lines of a text, kept as their hashes: ``line in lines``, without its line end."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        import numpy as np

        self._hashes = np.unique(hashes)

    def __contains__(self, line: object) -> bool:
        import numpy as np

        points = np.array([*map(ord, f"{line}{BOUNDARY}")], np.uint32)
        wanted = line_hashes(points, ord(BOUNDARY))
        place = np.searchsorted(self._hashes, wanted[0])
        return np.array_equal(self._hashes[place : place + 1], wanted)


def _notices(parts: Sequence[NDArray[np.uint64]], split: Sequence[float]) -> Iterator[str]:
    import numpy as np

    for name, lines, wanted in zip(SPLITS, parts, split, strict=True):
        if wanted and not len(lines):
            yield f"the {name} split is empty: the text has too few lines"
    held_out = np.concatenate(parts[1:])
    also = int(np.isin(held_out, parts[0]).sum())
    if also:
        yield (
            f"{also:,} of the {counted(len(held_out), 'line')} of valid and test are also in "
            "train, which makes scores better than on new lines; --set distinct=true keeps each "
            "line once"
        )
