"""Compressed texts, unpacked in memory: nothing is written, no member name becomes a path."""

from __future__ import annotations

import errno
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from charlm.errors import CorpusError

if TYPE_CHECKING:
    from zipfile import ZipInfo

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".csv", ".tsv", ".py", ".c", ".h")
"""The file names that count as text in a folder and in a zip archive."""

MAX_BYTES = 2**30  # unpacked
MAX_RATIO = 1000  # unpacked to packed bytes; deflate reaches 1,032


def _refuse_bomb(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > MAX_BYTES or unpacked > MAX_RATIO * packed:
        raise CorpusError(
            f"{path} unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_RATIO} times its size",
            "if you trust it, unpack it yourself and name the text file",
        )


def _damaged(path: Path, error: object) -> CorpusError:
    return CorpusError(f"{path} cannot be unpacked: {error}", "fetch or copy the file again")


def _text_member(path: Path, members: list[ZipInfo]) -> ZipInfo:
    """The one text member.

    Raises:
        CorpusError: there is none, there are several, or it is encrypted.
    """
    texts = []
    for member in members:
        name = PurePosixPath(member.filename)
        # Hidden names too, since macOS adds a __MACOSX/._book.txt to a book.txt.
        if name.suffix.lower() in TEXT_SUFFIXES and name.name[0] != "." and not member.is_dir():
            texts.append(member)
    if len(texts) != 1:
        some = ", ".join(member.filename for member in texts[:3])
        raise CorpusError(
            f"{path} holds {len(texts)} text files, not one"
            + (f": {some}{', ...' if len(texts) > 3 else ''}" if texts else ""),
            "unpack it and name the text file, or the folder to read all of them",
        )
    if texts[0].flag_bits & 0x1:
        raise CorpusError(f"{path} is encrypted", "unpack it with its password first")
    return texts[0]


def read_zip(path: Path) -> bytes:
    """The bytes of the one text file in a zip archive.

    Raises:
        CorpusError: not exactly one text member, encrypted, damaged, or far too large unpacked.
        OSError: the file cannot be read.
    """
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            member = _text_member(path, archive.infolist())
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile cannot bound how much one read of the others unpacks.
                raise NotImplementedError("its compression is neither deflate nor none")
            _refuse_bomb(path, member.file_size, member.compress_size)
            with archive.open(member) as stream:
                data = stream.read(member.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    except (ValueError, OSError) as error:
        # A name that is no text, or an offset before the start of the file.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise _damaged(path, "its directory of files is damaged") from error
    if len(data) != member.file_size:
        raise _damaged(path, "it ends too early")
    return data


def read_gzip(path: Path) -> bytes:
    """The decompressed bytes of a gzip file.

    Raises:
        CorpusError: damaged, or far too large unpacked.
        OSError: the file cannot be read.
    """
    import gzip

    packed = path.stat().st_size
    chunks: list[bytes] = []
    unpacked = 0
    try:
        with gzip.open(path) as stream:
            while chunk := stream.read(2**20):
                unpacked += len(chunk)
                _refuse_bomb(path, unpacked, packed)
                chunks.append(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _damaged(path, error) from error
    return b"".join(chunks)
