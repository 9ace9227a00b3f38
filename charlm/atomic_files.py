"""Writing files so that a reader, or the next start after a crash, finds a whole one or none."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

TEMPORARY_FILES = ".*.tmp"
"""The names, as a pattern, that a killed `write_atomic` may leave behind."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a temporary name beside ``path``, sync, rename, sync the folder.

    Pillai et al. (2014), "All file systems are not created equal", on why it takes all of it.

    Raises:
        OSError: ``path`` is as it was before, or whole and new; nothing temporary is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(temporary, flags, 0o666)
        try:
            rest = memoryview(data)
            while rest:  # a system may write less than it is given
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last, where the system can.

    Raises:
        OSError: it cannot, and should.
    """
    if os.name == "nt":  # which cannot open a folder, and keeps its names in a journal
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)
