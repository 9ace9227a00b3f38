"""Atomic writes: a reader finds the old file or the whole new one, even after a crash."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

TEMPORARY_FILES = ".*.tmp"
"""The pattern of the files that `write_atomic` may leave behind if the process is killed."""

_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds

Result = TypeVar("Result")


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary file beside ``path``, sync it, rename it, and sync the folder.

    Pillai et al. (2014), "All file systems are not created equal", explain why each step is needed.

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
        patiently(lambda: os.replace(temporary, path))
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def patiently(use: Callable[[], Result]) -> Result:
    """Use a file; on Windows, try again for 1.4 seconds while another program has it open.

    Windows opens, replaces and deletes no file that another program has opened for itself alone, as
    virus scanners do for a moment.

    Raises:
        OSError: as ``use``.
    """
    for pause in _PAUSES:
        try:
            return use()
        except PermissionError as error:
            if not hasattr(error, "winerror"):  # only Windows has it
                raise
            time.sleep(pause)
    return use()


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
