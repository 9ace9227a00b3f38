"""Passages that a text has copied, word for word, from the training text.

Letters in the shape comments: N characters of the training text, M of the text, W windows of the
text, U distinct ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charlm.corpus.splits import chosen_split
from charlm.errors import shown
from charlm.task import Report, Table
from charlm.tasks.language_model.repeats import (
    Ids,
    Places,
    repeated_windows,
    wanted_windows,
    window_hashes,
)

if TYPE_CHECKING:
    from charlm.tasks.language_model.corpus import Corpus

WINDOWS = (8, 16, 32)  # characters; powers of 2
SHORTEST = 16  # characters of a passage; a power of 2
SHOWN_PASSAGES = 10
SHOWN_CHARACTERS = 40  # of a passage
MOST_PLACES = 8  # of a window in the training text, to look for the longest passage at
_BLOCK = 64  # characters that are compared at once, and then twice as many


class Passage(NamedTuple):
    """A passage of a text that is also in the training text."""

    start: int  # of the passage in the text,
    length: int  # in characters,
    place: int  # and where it begins in the training text


class Copies(NamedTuple):
    """What a text copies."""

    windows: dict[int, float | None]  # the share of its windows that are copies; None: too short
    passages: list[Passage]  # the longest first

    def share(self, window: int) -> str:
        """The share of the windows that are copies, for people."""
        value = self.windows[window]
        return "-" if value is None else f"{value:.1%}"

    def longest(self) -> str:
        """The characters of the longest passage, for people."""
        if self.windows[SHORTEST] is None:
            return "-"
        return f"{self.passages[0].length:,}" if self.passages else f"under {SHORTEST}"

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "copied_windows": {str(window): share for window, share in self.windows.items()},
            "passages": [each._asdict() for each in self.passages],
        }


def copies(train: Ids, text: Ids) -> Copies:
    """The passages of ``text`` that are in ``train``, and the shares of its windows that are.

    Time is linear in the lengths.

    Args:
        train: (N,) ids of the training text.
        text: (M,) ids of the text. An id that the training text lacks separates several texts.
    """
    shares: dict[int, float | None] = dict.fromkeys(WINDOWS)
    for window in WINDOWS:
        if window <= len(text):
            shares[window] = float(repeated_windows(train, text, window)[0].mean())
    return Copies(
        shares, sorted(passages(train, text), key=lambda each: (-each.length, each.start))
    )


def copies_report(corpus: Corpus, texts: Sequence[str], most_train: int | None = None) -> Report:
    """What texts of a model have copied, beside held-out text of the same length.

    The content has the start of each passage in all texts together, its length and its place in
    the train split, in characters from 0.

    Args:
        texts: at least one; passages do not go from one to the next.
        most_train: of a longer train split, only the last characters are read; None: all.
    """
    train, vocabulary = corpus.split("train"), corpus.vocabulary
    first = max(0, len(train) - most_train) if most_train is not None else 0
    between = np.array([len(vocabulary)])  # no character, so that no passage is in two texts
    parts = [part for text in texts for part in (vocabulary.encode(text), between)]
    ids = np.concatenate(parts[:-1])
    found = copies(train[first:], ids)
    split = chosen_split(None, corpus.split_sizes, 1)
    beside = Copies(dict.fromkeys(WINDOWS), [])
    if split != "train":
        beside = copies(train[first:], corpus.split(split)[: len(ids)])
    rows = [(f"windows of {n} characters", found.share(n), beside.share(n)) for n in WINDOWS]
    rows.append(("longest passage", found.longest(), beside.longest()))
    blocks: list[str | Table] = [Table(("", "this text", f"{split} split"), rows)]
    if first:
        last = f"the last {most_train:,} of {len(train):,} training characters were compared"
        blocks.append(last)
    if found.passages:
        blocks.append(f"the longest passages, and where they are in {len(train):,} characters")
        lines = []
        for start, length, place in found.passages[:SHOWN_PASSAGES]:
            text = vocabulary.decode(ids[start : start + min(length, SHOWN_CHARACTERS)])
            more = "..." if length > SHOWN_CHARACTERS else ""
            lines.append((f"{shown(text)}{more}", f"{length:,}", f"{first + place + 1:,}"))
        blocks.append(Table(("passage", "characters", "from"), lines))
    moved = found._replace(
        passages=[each._replace(place=first + each.place) for each in found.passages]
    )
    content = {**moved.as_json(), "beside": {"split": split, **beside.as_json()}}
    return Report(content=content, blocks=blocks)


def passages(train: Ids, text: Ids, shortest: int = SHORTEST) -> list[Passage]:
    """The passages of at least ``shortest`` characters, a power of 2, in the order of the text.

    Each is as long as it can be at its place. Where a passage has many places, the first few
    are compared and the longest passage counts. Two passages may share some characters, but none
    lies inside another.
    """
    if len(text) < shortest:
        return []
    places = _places(train, text, shortest)
    found: list[Passage] = []
    begin = 0  # of the next window that may begin a passage
    for start in np.flatnonzero(places[:, 0] >= 0).tolist():
        if start < begin:
            continue
        here = [_passage(train, text, start, int(place)) for place in places[start] if place >= 0]
        longest = max(here, key=lambda each: each.length)
        if longest.length >= shortest:  # else two windows have the same hash
            while found and found[-1].start >= longest.start:
                found.pop()  # it lies inside
            found.append(longest)
            begin = longest.start + longest.length - shortest + 1
    return found


def _places(train: Ids, text: Ids, window: int) -> Places:
    """The first places of each window of a text in ``train``, (W, MOST_PLACES); -1: no more."""
    hashes = np.concatenate([*window_hashes(text, window)])
    wanted, ranks = np.unique(hashes, return_inverse=True)  # (U,) hashes; (W,) ranks
    places = np.full((len(wanted), MOST_PLACES), -1)
    counts = np.zeros(len(wanted), np.intp)
    for starts, which in wanted_windows(train, wanted, window):
        order = np.argsort(which, kind="stable")
        some, firsts, sizes = np.unique(which[order], return_index=True, return_counts=True)
        before = np.repeat(counts[some] - firsts, sizes)  # of the same window, up to the chunk
        numbers = before + np.arange(len(order))
        kept = numbers < MOST_PLACES
        places[which[order][kept], numbers[kept]] = starts[order][kept]
        counts[some] += sizes
    return places[ranks]


def _passage(train: Ids, text: Ids, start: int, place: int) -> Passage:
    """The longest passage with the character at ``start``, which is that at ``place``."""
    back = _equal(text[:start][::-1], train[:place][::-1])
    length = back + _equal(text[start:], train[place:])
    return Passage(start - back, length, place - back)


def _equal(first: Ids, second: Ids) -> int:
    """The number of equal ids at the beginning."""
    size, begin, end = _BLOCK, 0, min(len(first), len(second))
    while begin < end:
        block = slice(begin, min(begin + size, end))
        differ = np.flatnonzero(first[block] != second[block])
        if len(differ):
            return begin + int(differ[0])
        begin, size = block.stop, 2 * size
    return end
