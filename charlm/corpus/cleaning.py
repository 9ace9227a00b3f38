"""Cleanings: changes to a text before it is split into characters."""

from __future__ import annotations

from collections.abc import Callable

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
    if name not in CLEANINGS:
        raise UsageError(f"unknown cleaning {name!r}", did_you_mean(name, CLEANINGS))
    return CLEANINGS[name](text)
