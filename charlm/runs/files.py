"""Read and write the files of a run. Files are written atomically and read up to a size limit."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charlm.atomic_files import write_atomic
from charlm.errors import CorpusError, RunError, UsageError
from charlm.runs.fields import GRADIENTS, MEANS, Kinds, check_fields
from charlm.strict_json import dumps

MAX_SETTINGS = 2**20  # bytes of run.json and training.json; the prefixes take most of it
MAX_VOCABULARY = 2**24  # bytes; all of Unicode takes 11 million
MAX_LINES = 2**26  # bytes of a file of JSON lines
_MAX_BRACKETS = 5 * 2**18  # an empty list takes 50 times its text; a sample may have many "["
_MAX_LINE = 2**23  # bytes; a sample of a million characters takes at most 6 million


@contextmanager
def os_errors(what: str, hint: str | None = None) -> Iterator[None]:
    """Turn an OSError in the block into a RunError such as "cannot read run: No such file"."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {error.strerror}", hint) from None


def damaged(path: Path, why: str) -> RunError:
    """The error about a damaged file of a run."""
    return RunError(f"{path} is damaged: {why}", "restore the run from a copy, or train a new one")


@contextmanager
def damage_in(path: Path) -> Iterator[None]:
    """Turn an error about the content of a file into a RunError that names the file."""
    try:
        yield
    except (ValueError, CorpusError, UsageError) as error:
        raise damaged(path, str(error)) from None


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a run atomically.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    hint = "earlier checkpoints are unchanged; free some space, or name another folder with --run"
    with os_errors(f"cannot write {path}", hint):
        write_atomic(path, data)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    write_file(path, encode_json(content, indent=2))


def encode_json(content: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8 with a final line end; characters that UTF-8 cannot encode become escapes."""
    text = dumps(content, indent=indent) + "\n"
    return text.encode("utf-8", "backslashreplace")


def encode_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """JSON lines, one object each, without the oldest if all would exceed `MAX_LINES` bytes."""
    lines = deque(map(encode_json, rows))
    size = sum(map(len, lines))
    while size > MAX_LINES:
        size -= len(lines.popleft())
    return b"".join(lines)


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        RunError: the file is missing, unreadable or too large, or it is not a regular file.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os_errors(f"cannot read {path}"), damage_in(path):
        descriptor = os.open(path, flags)
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError("it is not a regular file")
            if about.st_size > max_bytes:
                raise ValueError(f"it has {about.st_size:,} bytes, more than {max_bytes:,}")
            # Only now: open() on the descriptor of a folder would leak the descriptor.
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(about.st_size)
        finally:
            os.close(descriptor)


def read_json(path: Path) -> Any:
    """The content of a JSON file of a run.

    Raises:
        RunError: the file cannot be read, or it is not JSON.
    """
    return decode_json(read_file(path, MAX_LINES), path)  # a summary holds samples


def decode_json(data: bytes, path: Path) -> Any:
    """The content of a JSON file; ``path`` is for the message.

    Raises:
        RunError: the bytes are not JSON, or JSON that programs read differently: an object that has
            a key twice, a number that is not finite, or an integer of more than 64 bits.
    """
    try:
        if data.count(b"[") + data.count(b"{") > _MAX_BRACKETS:
            raise ValueError
        return json.loads(
            data.decode("utf-8"),
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_distinct,
        )
    except (ValueError, RecursionError):
        raise damaged(path, "it is not JSON") from None


def _is_new(key: str) -> bool:
    return key in GRADIENTS or key.startswith(MEANS)


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
        raise ValueError("an object has a key twice")
    return content


def decode_lines(data: bytes, path: Path, kinds: Kinds) -> list[dict[str, Any]]:
    """The objects of JSON lines, with values of the types in ``kinds``.

    Raises:
        RunError: a line is not such an object.
    """
    rows = []
    with damage_in(path):
        # Not splitlines(): it splits at U+2028, which a sample may contain.
        for number, line in enumerate(io.BytesIO(data), start=1):
            if len(line) > _MAX_LINE or not line.endswith(b"\n"):
                raise ValueError(f"line {number:,} is too long or incomplete")
            row = decode_json(line, path)
            if isinstance(row, dict):  # an older line lacks these
                row = {**dict.fromkeys(key for key in kinds if _is_new(key)), **row}
            check_fields(row, kinds, f"line {number:,}")
            rows.append(row)
    return rows
