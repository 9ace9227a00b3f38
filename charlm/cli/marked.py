"""Texts whose characters are coloured on a terminal, or in brackets where there are no colours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

Piece = tuple[str, str]  # a text and its style


def marked(text: str, levels: Sequence[int], styles: Sequence[str] | None) -> Iterator[Piece]:
    """The text in pieces of the same level. A marked line end is shown.

    Args:
        levels: of each character, a number of a style.
        styles: those of rich; None: there are no colours, and what has another level than 0 is in
            brackets.
    """
    start = 0
    for level, group in itertools.groupby(levels):
        end = start + len([*group])
        part, start = text[start:end], end
        if styles is None:
            yield ("[" + part.replace("\n", "\u21b5\n") + "]" if level else part), ""
        elif not styles[level]:
            yield part, ""
        else:
            for line in part.splitlines(keepends=True):
                content = line.removesuffix("\n")
                yield (content if content == line else f"{content}\u21b5"), styles[level]
                yield line[len(content) :], ""  # a colour must not run on to the next line
