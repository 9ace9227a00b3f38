"""Cleanings: what is done to a text before it is split into characters."""

from __future__ import annotations

from collections.abc import Callable

from charlm.errors import UsageError, did_you_mean

# ASCII letters to lower case, line ends kept, every other byte to a space.
_TO_LETTERS = bytes(
    ord("\n") if chr(byte) in "\r\n" else ord(chr(byte).lower()) if chr(byte).isalpha() else 32
    for byte in range(128)
) + bytes([32] * 128)


def letters(text: str) -> str:
    r"""Lower-case ASCII letters and single spaces, lines joined with nothing between.

    Each line has ``[^A-Za-z]+`` replaced by one space, is stripped and lower-cased, as
    ``read_time_machine`` does in d2l 0.17 (Dive into Deep Learning, section 8.2). As in a file
    read with universal newlines, only ``\n``, ``\r\n`` and ``\r`` end a line.
    """
    # A character beyond ASCII becomes "?", which the table turns into a space.
    data = text.encode("ascii", "replace").translate(_TO_LETTERS)
    while b"  " in data:  # each pass halves the longest run
        data = data.replace(b"  ", b" ")
    data = data.replace(b" \n", b"\n").replace(b"\n ", b"\n").replace(b"\n", b"")
    return data.strip(b" ").decode("ascii")


def spaces(text: str) -> str:
    r"""Every ``\n`` and every ``\r`` becomes a space, as d2l-zh v1 reads the Jay Chou lyrics."""
    return text.replace("\n", " ").replace("\r", " ")


def none(text: str) -> str:
    """The text as it is."""
    return text


CLEANINGS: dict[str, Callable[[str], str]] = {"letters": letters, "spaces": spaces, "none": none}


def clean(text: str, name: str) -> str:
    """The text through the cleaning of that name, one of ``CLEANINGS``.

    Raises:
        UsageError: no cleaning has that name.
    """
    if name not in CLEANINGS:
        raise UsageError(f"unknown cleaning {name!r}", did_you_mean(name, CLEANINGS))
    return CLEANINGS[name](text)
