"""The files of a run: written whole or not at all, read with a bound on their size."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from charlm.atomic_files import write_atomic
from charlm.errors import RunError
from charlm.runs.fields import Kinds, check_fields
from charlm.strict_json import dumps

MAX_SETTINGS = 2**20  # bytes of run.json, training.json; their prefixes take most of it
MAX_VOCABULARY = 2**24  # bytes; all of Unicode takes eleven million
MAX_LINES = 2**26  # bytes of a file of JSON lines
_MAX_BRACKETS = 5 * 2**18  # a list takes fifty times the memory; but a sample may be of these
_MAX_LINE = 2**23  # bytes; a sample of a million characters takes six million at most


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a run, whole or not at all.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}",
            "what was saved before is untouched; make room, or choose another folder with --run",
        ) from None


def write_json(path: Path, content: Any) -> None:
    """JSON that a person can read, whole or not at all.

    Raises:
        RunError: as `write_file`.
    """
    write_file(path, encode_json(content, indent=2))


def encode_json(content: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8 and a line end; what a file name or word may have beyond UTF-8, as escapes."""
    text = dumps(content, indent=indent) + "\n"
    return text.encode("utf-8", "backslashreplace")


def encode_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines: an object each; the oldest are left out where all are more than can be read."""
    lines = list(map(encode_json, rows))
    too_many = sum(map(len, lines)) - MAX_LINES
    first = 0
    while too_many > 0:
        too_many -= len(lines[first])
        first += 1
    return b"".join(lines[first:])


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a file.

    Args:
        most: bytes; a larger file is not read.

    Raises:
        RunError: it is missing, no regular file, too large, or cannot be read.
    """
    try:
        # A named pipe must not keep us waiting for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise RunError(f"{path} is damaged: it is not a regular file")
            if about.st_size > most:
                raise RunError(
                    f"{path} is damaged: it has {about.st_size:,} bytes, more than {most:,}"
                )
            # A folder is none of those: opening it as a file would lose the descriptor.
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(about.st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None


_BINARY = getattr(os, "O_BINARY", 0)


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        RunError: as `read_file`; or it is not JSON.
    """
    return decode_json(read_file(path, MAX_LINES), path)  # a summary has samples too


def decode_json(data: bytes, path: Path) -> Any:
    """What the bytes of a JSON file hold.

    Args:
        path: for the message.

    Raises:
        RunError: they are not JSON, or not all readers would take them for the same: an object
            with a key twice, a number that is not finite, or a whole one of 64 bits or more.
    """
    try:
        if data.count(b"[") + data.count(b"{") > _MAX_BRACKETS:
            raise ValueError
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and infinities


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _whole(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:
        raise ValueError(text)
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key twice")
    return content


def decode_lines(data: bytes, path: Path, kinds: Kinds) -> list[dict[str, Any]]:
    """The objects of JSON lines.

    Args:
        kinds: the types of each object's values.

    Raises:
        RunError: a line is not such an object.
    """
    rows = []
    # Not splitlines(): a sample may have a U+2028, which does not end a line of JSON.
    for number, line in enumerate(io.BytesIO(data), start=1):
        if len(line) > _MAX_LINE or not line.endswith(b"\n"):
            raise RunError(f"{path} is damaged: line {number:,} is too long, or cut off")
        row = decode_json(line, path)
        try:
            check_fields(row, kinds, f"line {number:,}")
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}") from None
        rows.append(row)
    return rows
