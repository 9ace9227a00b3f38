"""A text whose lines are examples: each has a start and an end, and their order is drawn.

A line is written with its line end, which is the last character that is predicted. The line end of
the line before, or of nothing, stands before its first character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charlm.corpus.cleaning import clean
from charlm.corpus.splits import SPLITS, split_sizes
from charlm.errors import CorpusError, counted

BOUNDARY = "\n"


class LineText(NamedTuple):
    """The lines of a text."""

    whole: str  # all lines in the order of the text
    kept: str  # the lines that are kept, in shuffled order
    split_sizes: tuple[int, int, int]  # characters of ``kept``; no split ends within a line
    notices: tuple[str, ...]


def read_lines(
    text: str,
    where: str,
    cleaning: str,
    *,
    distinct: bool,
    max_chars: int | None,
    split: Sequence[float],
    scale_counts: bool,
) -> LineText:
    """The lines of a text: cleaned one by one, shuffled, and split.

    Blank lines are left out. The order depends on the number of lines alone, so the splits are the
    same for every seed of a training.

    Args:
        where: the name of the text in messages.
        distinct: keep only the first of equal lines.
        max_chars: keep whole lines from the start of the text, at most this many characters.
        split, scale_counts: as in `split_sizes`; they count lines.

    Raises:
        CorpusError: no line is left, or too few for the train split.
        UsageError: ``split`` is not a split.
    """
    import numpy as np

    cleaned = [clean(line, cleaning) for line in text.removesuffix(BOUNDARY).split(BOUNDARY)]
    lines = [line for line in cleaned if line.strip()]
    blank = len(cleaned) - len(lines)
    whole = _joined(dict.fromkeys(lines) if distinct else lines)
    if not whole:
        raise CorpusError(
            f"every line of {where} is blank after the cleaning {cleaning!r}", "name another text"
        )
    end = len(whole) if max_chars is None else whole.rfind(BOUNDARY, 0, max_chars) + 1
    if not end:
        raise CorpusError(
            f"the first line and its end have more than {max_chars:,} characters",
            "give a larger --max-chars",
        )
    lines = whole[:end].split(BOUNDARY)[:-1]
    # RandomState draws the same numbers on every machine and in every numpy (NEP 19).
    lines = [lines[index] for index in np.random.RandomState(0).permutation(len(lines))]
    train, valid, _ = split_sizes(
        len(lines), split, scale_counts=scale_counts or end < len(whole), unit="line"
    )
    parts = lines[:train], lines[train : train + valid], lines[train + valid :]
    sizes = tuple(len(_joined(part)) for part in parts)
    notices = tuple(_notices(parts, split, blank))
    return LineText(whole, _joined(lines), (sizes[0], sizes[1], sizes[2]), notices)


def _joined(lines: Sequence[str] | dict[str, None]) -> str:
    return "".join(f"{line}{BOUNDARY}" for line in lines)


def _notices(parts: Sequence[Sequence[str]], split: Sequence[float], blank: int) -> Iterator[str]:
    if blank:
        yield f"left out {counted(blank, 'blank line')}"
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
