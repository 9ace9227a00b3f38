"""Tables as lines of text that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from rich.cells import cell_len  # a Chinese character is two columns wide

GAP = "  "
NARROW = 20  # a column of prose is not wrapped into fewer columns than this
INDENT = "    "


def table_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int, width: int | None
) -> Iterator[str]:
    """The lines of a table; the first line is the header, or a part of it.

    If the table is too wide, the prose in it is wrapped. If it is still too wide, the first cell of
    each row gets a line of its own above the others. If that does not help either, each row becomes
    a small table of its own, on its side.

    Args:
        left: the first ``left`` columns are left-aligned, the others right-aligned.
        width: of the terminal; None: lines have any length.
    """
    lines = [header, *rows]
    widest = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    if _fits(widest, width):
        yield from (_line(cells, widest, left) for cells in lines)
        return
    assert width is not None
    wrapped = _wrapped(lines, widest, left, width)
    if wrapped is not None:
        yield from _wrapped_lines(lines, wrapped, left)
    elif len(header) > 2 and _fits(widest[1:], width - len(INDENT)):
        for first, *others in lines:
            yield first
            yield INDENT + _line(others, widest[1:], left - 1)
    else:
        names = max(map(cell_len, header))
        for number, row in enumerate(rows):
            if number:
                yield ""
            beside = [names, max(width - names - len(GAP), NARROW)]
            yield from _wrapped_lines(list(zip(header, row, strict=True)), beside, 2)


def _fits(widths: Sequence[int], width: int | None) -> bool:
    return width is None or sum(widths) + len(GAP) * (len(widths) - 1) <= width


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - cell_len(cell))
        padded.append(cell + space if column < left else space + cell)
    return GAP.join(padded).rstrip()


def _wrapped(
    lines: Sequence[Sequence[str]], widest: Sequence[int], left: int, width: int
) -> list[int] | None:
    """The widths of the columns after the prose is wrapped between words; None: still too wide."""
    widths = list(widest)
    least = []
    for column, cells in enumerate(zip(*lines, strict=True)):
        words = chain([cells[0]], *(cell.split(" ") for cell in cells[1:]))
        prose = column < left and any(" " in cell for cell in cells[1:])
        narrowest = max(max(map(cell_len, words)), min(NARROW, widest[column]))
        least.append(narrowest if prose else widest[column])
    if not _fits(least, width):
        return None
    while not _fits(widths, width):
        spare = [now - narrowest for now, narrowest in zip(widths, least, strict=True)]
        widths[spare.index(max(spare))] -= 1
    return widths


def _wrapped_lines(
    lines: Sequence[Sequence[str]], widths: Sequence[int], left: int
) -> Iterator[str]:
    """The lines of a table whose cells are wrapped to their column's width."""
    from rich.console import Console
    from rich.text import Text

    console = Console(color_system=None, width=max(widths))
    for cells in lines:
        parts = [
            [part.plain.rstrip() for part in Text(cell).wrap(console, width)] or [""]
            for cell, width in zip(cells, widths, strict=True)
        ]
        for number in range(max(map(len, parts))):
            row = [part[number] if number < len(part) else "" for part in parts]
            yield _line(row, widths, left)
