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
    whole = ids
    if distinct:
        first = {_line(ids, each): index for index, each in reversed([*enumerate(bounds)])}
        bounds = bounds[sorted(first.values())]
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
    bounds = bounds[np.random.RandomState(0).permutation(number)]
    train, valid, _ = split_sizes(
        number, split, scale_counts=scale_counts or shortened, unit="line"
    )
    parts = np.split(bounds, [train, train + valid])
    sizes = tuple(int(np.diff(part).sum()) for part in parts)
    lines = [[_line(ids, each) for each in part] for part in parts]
    notices = tuple(_notices(lines, split))
    return LineIds(whole, _joined(ids, bounds), (sizes[0], sizes[1], sizes[2]), notices)


def _line(ids: Ids, bounds: NDArray[np.int64]) -> bytes:
    return ids[bounds[0] : bounds[1]].tobytes()


def _joined(ids: Ids, bounds: NDArray[np.int64]) -> Ids:
    import numpy as np

    return np.concatenate([ids[start:end] for start, end in bounds.tolist()])


def _notices(parts: Sequence[Sequence[bytes]], split: Sequence[float]) -> Iterator[str]:
    for name, lines, wanted in zip(SPLITS, parts, split, strict=True):
        if wanted and not lines:
            yield f"the {name} split is empty: the text has too few lines"
    known, held_out = set(parts[0]), [*parts[1], *parts[2]]
    also = sum(line in known for line in held_out)
    if also:
        yield (
            f"{also:,} of the {counted(len(held_out), 'line')} of valid and test also stand in "
            "train, which makes scores better than on new lines; --set distinct=true keeps each "
            "line once"
        )
