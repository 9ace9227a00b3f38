"""Cleanings: changes to a text before it is split into characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from charlm.errors import UsageError, did_you_mean

# Maps ASCII letters to lower case, line ends to \n, every other byte to a space.
_TO_LETTERS = bytes(
    ord("\n") if chr(byte) in "\r\n" else ord(chr(byte).lower()) if chr(byte).isalpha() else 32
    for byte in range(128)
) + bytes([32] * 128)


def letters(text: str) -> str:
    r"""Lower-case ASCII letters and single spaces; the lines are joined with nothing between.

    In each line, ``[^A-Za-z]+`` becomes one space; the line is stripped and lower-cased. This is
    ``read_time_machine`` of d2l 0.17 (Dive into Deep Learning, section 8.2). A line ends with
    ``\n``, ``\r\n`` or ``\r``, as in a file read with universal newlines.
    """
    # A non-ASCII character becomes "?", which the table maps to a space.
    data = text.encode("ascii", "replace").translate(_TO_LETTERS)
    while b"  " in data:  # each pass halves the longest run
        data = data.replace(b"  ", b" ")
    data = data.replace(b" \n", b"\n").replace(b"\n ", b"\n").replace(b"\n", b"")
    return data.strip(b" ").decode("ascii")


def spaces(text: str) -> str:
    r"""The text with each ``\n`` and ``\r`` as a space, as d2l-zh v1 reads the Jay Chou lyrics."""
    return text.replace("\n", " ").replace("\r", " ")


def trim(text: str) -> str:
    """The text without spaces at the start and the end of its lines.

    It turns the words of the Penn Treebank into the characters of Mikolov's ``ptb.char`` files.
    """
    return "\n".join(line.strip(" ") for line in text.split("\n"))


_BY_CHARACTER = ("spaces", "none")  # cleanings that change each character alone
_LETTERS = re.compile("[A-Za-z](?=[A-Za-z])")
_NEAR = 2**10  # characters at the end of a piece without a line end, which have two letters

CLEANINGS: dict[str, Callable[[str], str]] = {
    "letters": letters,
    "spaces": spaces,
    "trim": trim,
    "none": str,
}


def clean(text: str, name: str) -> str:
    """The text after the cleaning of that name.

    Raises:
        TypeError: the text is not a str: bytes, say.
        UsageError: the name is not in ``CLEANINGS``.
    """
    if not isinstance(text, str):  # str() would make the text "b'...'" of bytes
        raise TypeError(f"the text must be a str, not {type(text).__name__}")
    check_cleaning(name)
    return CLEANINGS[name](text)


def check_cleaning(name: str) -> None:
    """Raise a UsageError unless the name is in ``CLEANINGS``."""
    if name not in CLEANINGS:
        raise UsageError(f"unknown cleaning {name!r}", did_you_mean(name, CLEANINGS))


def clean_pieces(pieces: Iterable[str], name: str) -> Iterator[str]:
    r"""A text after a cleaning, in pieces: together they are `clean` of the whole.

    A text is cut after a line end, because every cleaning treats each line alone; or within a line
    between two letters, which no cleaning parts.

    Args:
        pieces: of a text with ``\n`` line ends.
    """
    if name in _BY_CHARACTER:
        yield from (clean(piece, name) for piece in pieces)
        return
    kept: list[str] = []
    for piece in pieces:
        end = piece.rfind("\n") + 1
        if not end:
            start = max(0, len(piece) - _NEAR)
            end = next((start + each.end() for each in _LETTERS.finditer(piece[start:])), 0)
        if end:
            yield clean("".join([*kept, piece[:end]]), name)
            kept = []
        kept.append(piece[end:])
    yield clean("".join(kept), name)


class LineCleaning:
    """Cleans the lines of a text one by one, and leaves out those that are blank then."""

    blank = 0  # the lines that were left out

    def pieces(self, pieces: Iterable[str], name: str) -> Iterator[str]:
        r"""The lines that are left, each with its line end, in pieces; arguments as above."""
        kept: list[str] = []
        for piece in pieces:
            end = piece.rfind("\n") + 1
            if end:
                yield self._cleaned("".join([*kept, piece[: end - 1]]), name)
                kept = []
            kept.append(piece[end:])
        if rest := "".join(kept):
            yield self._cleaned(rest, name)

    def _cleaned(self, text: str, name: str) -> str:
        cleaned = [clean(line, name) for line in text.split("\n")]
        lines = [f"{line}\n" for line in cleaned if line.strip()]
        self.blank += len(cleaned) - len(lines)
        return "".join(lines)
