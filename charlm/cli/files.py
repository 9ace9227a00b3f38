"""Files that an option names and a command writes: checked first, written whole or not at all."""

from __future__ import annotations

import errno
import os.path
from collections.abc import Iterable
from pathlib import Path

from charlm.atomic_files import write_atomic
from charlm.errors import CharlmError, UsageError, shown


def check_file(option: str, path: Path, ending: str = "") -> None:
    """Raise a UsageError if a file of that name cannot be written, or has another ending.

    The ending says what the file is. Without it, a text that is named by mistake would be replaced.
    """
    wrong = None
    if path.name == "-":
        wrong = "is not the name of a file"  # elsewhere it is standard input
    elif os.path.isdir(path):
        wrong = "is a folder"
    elif not os.path.isdir(path.parent):
        wrong = "is in a folder that does not exist"
    elif not os.access(path.parent, os.W_OK):
        wrong = "is in a folder that cannot be written to"
    elif os.path.lexists(path) and not os.path.isfile(path):  # a device would be replaced
        wrong = "is not a regular file"
    if wrong:
        raise UsageError(f"{option} {shown(str(path))} {wrong}", "name a file to write")
    if ending and path.suffix.lower() != ending:
        raise UsageError(
            f"{option} {shown(str(path))} does not end in {ending}",
            f"name a file such as {path.stem}{ending}",
        )


def check_not_read(option: str, path: Path, read: Iterable[str | None]) -> None:
    """Raise a UsageError if a file that a command writes is one that it reads."""
    for each in filter(None, read):
        if os.path.exists(path) and os.path.exists(each) and os.path.samefile(path, each):
            raise UsageError(
                f"{option} {shown(str(path))} is a text that is read here", "name another file"
            )


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, or raise a CharlmError and leave an older file as it is."""
    try:
        write_atomic(path, data)
    except OSError as error:
        first = "free some space" if error.errno == errno.ENOSPC else "check the path"
        raise CharlmError(
            f"cannot write {path}: {error.strerror}", f"{first}, or write to another folder"
        ) from None
