"""Atomic writes: a reader finds the old file or the whole new one, even after a crash."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

TEMPORARY_FILES = ".*.tmp"
"""The pattern of the files that `write_atomic` may leave behind if the process is killed."""

_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds
_IN_USE = (5, 32)  # ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary file beside ``path``, sync it, rename it, and sync the folder.

    Pillai et al. (2014), "All file systems are not created equal", explain why each step is needed.
    Windows renames no file that another program has open, such as a virus scanner, and replaces
    none. Then this tries again for one and a half seconds.

    Raises:
        OSError: ``path`` has its old content or the whole new content. No temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
        try:
            rest = memoryview(data)
            while rest:  # os.write may write only a part
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _replace(old: Path, new: Path) -> None:
    for pause in _PAUSES:
        try:
            return os.replace(old, new)
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _IN_USE:
                raise
            time.sleep(pause)
    os.replace(old, new)


def sync_folder(folder: Path) -> None:
    """Sync the names in ``folder`` to the disk, where the file system supports it.

    Raises:
        OSError: the file system supports it, and it failed.
    """
    if os.name == "nt":  # Windows cannot open a folder; its file system journals the names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)
