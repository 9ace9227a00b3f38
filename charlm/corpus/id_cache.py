"""The token ids of large texts in the user's cache folder, so that a text is encoded once.

A file has the ids, a description in JSON, and a tail with the length and check value of the
description. Its name says of which text, cleaning and encoding it is. A file is complete before it
gets its name. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import sys
import tempfile
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = 1  # a part of every name; raise it when a text is read, cleaned or encoded otherwise
MAX_BYTES = 4 * 2**30  # of all files; those that were not used for the longest time are deleted
MAX_AGE = 60 * 24 * 3600  # seconds without use after which a file is deleted
_ABANDONED = 24 * 3600  # seconds after which the temporary file of a killed process is deleted
_BLOCK = 2**20  # bytes
_RELEASE = 64  # blocks after which `in_blocks` gives back the memory of their pages
_mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_TAIL = struct.Struct("<II8s")  # length and CRC-32 of the description; the mark
_MARK = b"charlmID"


def cache_folder() -> Path:
    """The folder of the files; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("charlm", appauthor=False)) / "ids"


def has_text_of(size: int) -> bool:
    """Whether there is a text whose files have this size in bytes, so that a hash is worthwhile."""
    return any(cache_folder().glob(f"{size}-*.ids"))


def file_name(size: int, sha256: str, *reading: object) -> str:
    """The name for a text: the size and the hash of its bytes, and how they are read."""
    what = json.dumps([FORMAT, sys.byteorder, sha256, *reading])
    return f"{size}-{hashlib.sha256(what.encode()).hexdigest()[:32]}.ids"


def write(name: str, blocks: Iterable[NDArray[np.integer]], about: dict[str, Any]) -> None:
    """Write a file, and delete old ones.

    Args:
        name: as from `file_name`.
        blocks: the ids, all of one type.
        about: what `find` returns with the ids.

    Raises:
        OSError: it cannot be written, because the disk is full, say. Nothing is left of it.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    count, check, dtype = 0, 0, ""
    descriptor, temporary = tempfile.mkstemp(".tmp", ".", folder)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            for block in blocks:
                data = block.tobytes()
                write_all(file.fileno(), data)
                count, check = count + len(block), zlib.crc32(data, check)
                dtype = block.dtype.name
            facts = {"dtype": dtype, "count": count, "check": check, "about": about}
            data = json.dumps(facts).encode()
            data += _TAIL.pack(len(data), zlib.crc32(data), _MARK)
            write_all(file.fileno(), data)
        os.replace(temporary, folder / name)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _prune(folder, name)


def find(name: str) -> tuple[NDArray[np.integer], dict[str, Any]] | None:
    """The ids of a text, (N,), mapped from the file, and what is known about it.

    The whole file is compared with its check values. None: there is no such file, or it is damaged;
    then it is deleted.
    """
    path = cache_folder() / name
    try:
        with path.open("rb") as file:
            found = _read(file.fileno())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):
        os.utime(path)  # the time of its last use
    return found


def _read(file: int) -> tuple[NDArray[np.integer], dict[str, Any]]:
    """The content of an open file; a ValueError or another error if it is damaged."""
    import numpy as np  # here, so that importing charlm.corpus stays quick

    size = os.lseek(file, 0, os.SEEK_END)
    os.lseek(file, size - _TAIL.size, os.SEEK_SET)
    length, crc, mark = _TAIL.unpack(os.read(file, _TAIL.size))
    os.lseek(file, size - _TAIL.size - length, os.SEEK_SET)
    data = os.read(file, length)
    if mark != _MARK or zlib.crc32(data) != crc:
        raise ValueError("the description is damaged")
    facts = json.loads(data)
    dtype, rest = np.dtype(facts["dtype"]), size - _TAIL.size - length
    if rest != dtype.itemsize * facts["count"]:
        raise ValueError("the file is too short")
    os.lseek(file, 0, os.SEEK_SET)
    check, bytes_left = 0, rest
    while bytes_left and (block := os.read(file, min(_BLOCK, bytes_left))):
        check, bytes_left = zlib.crc32(block, check), bytes_left - len(block)
    if check != facts["check"]:
        raise ValueError("the ids are damaged")
    return _mapped(file, rest, dtype), facts["about"]


def unnamed(
    blocks: Iterable[NDArray[np.integer]], dtype: np.dtype[np.integer]
) -> NDArray[np.integer]:
    """Ids, (N,), mapped from a file in the same folder that has no name and goes with the ids.

    Raises:
        OSError: it cannot be written, because the disk is full, say.
    """
    folder, size = cache_folder(), 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(buffering=0, suffix=".tmp", prefix=".", dir=folder) as file:
        for block in blocks:
            write_all(file.fileno(), block.tobytes())
            size += block.nbytes
        return _mapped(file.fileno(), size, dtype)


def _mapped(file: int, size: int, dtype: np.dtype[np.integer]) -> NDArray[np.integer]:
    """The first bytes of an open file as ids."""
    import numpy as np

    # A private mapping is writable, which torch asks for, but nothing reaches the file.
    mapping = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    _mappings.add(mapping)
    return np.frombuffer(mapping, dtype)


def release_pages() -> None:
    """Give back the memory of the pages that were read of all mapped files.

    The system keeps them as long as it has room, and brings them back when they are read again.
    Without this the memory of a process would grow to the size of the file. Windows and other
    systems without such a call do it by themselves when memory is short.
    """
    for mapping in list(_mappings):
        if hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


def in_blocks(ids: NDArray[np.integer], size: int) -> Iterator[NDArray[np.integer]]:
    """All of some ids, (N,), in order: blocks of ``size``; of mapped ones, few pages stay."""
    for number, start in enumerate(range(0, len(ids), size), start=1):
        yield ids[start : start + size]
        if number % _RELEASE == 0:
            release_pages()


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes to an open file; an OSError if they cannot be written."""
    rest = memoryview(data)
    while rest:  # os.write may write only a part
        rest = rest[os.write(descriptor, rest) :]


def _prune(folder: Path, newest: str) -> None:
    """Delete what is too old or too much, but not the newest file."""
    now, total = time.time(), 0
    found = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process may delete it, too
            about = path.stat()
            if path.suffix == ".ids":
                found.append((path.name == newest, about.st_mtime, about.st_size, path))
            elif path.suffix == ".tmp" and now - about.st_mtime > _ABANDONED:
                path.unlink()
    for is_newest, used, size, path in sorted(found, reverse=True):
        total += size
        if not is_newest and (total > MAX_BYTES or now - used > MAX_AGE):
            with suppress(OSError):  # Windows deletes no file that is mapped
                path.unlink()
