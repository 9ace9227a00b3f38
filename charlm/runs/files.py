"""The files of a run: written whole or not at all, read with a bound on their size."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from charlm.atomic_files import write_atomic
from charlm.errors import RunError
from charlm.strict_json import dumps

MAX_JSON = 2**26  # bytes; a vocabulary of all of Unicode takes 16 million


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


def encode_lines(rows: list[dict[str, Any]]) -> bytes:
    """JSON lines: an object each."""
    return b"".join(map(encode_json, rows))


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
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise RunError(f"{path} is damaged: it is not a regular file")
            if about.st_size > most:
                raise RunError(
                    f"{path} is damaged: it has {about.st_size:,} bytes, more than {most:,}"
                )
            return file.read()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None


_BINARY = getattr(os, "O_BINARY", 0)


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        RunError: as `read_file`; or it is not JSON.
    """
    return decode_json(read_file(path, MAX_JSON), path)


def decode_json(data: bytes, path: Path) -> Any:
    """What the bytes of a JSON file hold.

    Args:
        path: for the message.

    Raises:
        RunError: they are not JSON.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not JSON") from None


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and infinities


def decode_lines(data: bytes, path: Path) -> list[dict[str, Any]]:
    """The objects of JSON lines.

    Raises:
        RunError: a line is not a JSON object.
    """
    # Not splitlines(): a sample may have a U+2028, which does not end a line of JSON.
    rows = [decode_json(line, path) for line in data.split(b"\n") if line]
    if not all(isinstance(row, dict) for row in rows):
        raise RunError(f"{path} is damaged: a line is not a JSON object")
    return rows
