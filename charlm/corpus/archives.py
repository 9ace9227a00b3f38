"""Compressed texts, unpacked in memory: nothing is written, no member name becomes a path."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from charlm.errors import CorpusError, shown

if TYPE_CHECKING:
    from io import BufferedIOBase
    from zipfile import ZipInfo

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".csv", ".tsv", ".py", ".c", ".h")
"""The file names that count as text in a folder and in a zip archive."""

MAX_BYTES = 2**30  # unpacked
MAX_RATIO = 1000  # unpacked to packed bytes; deflate reaches 1,032
MAX_FILES = 10**6  # in one archive or folder
MAX_FILE_BYTES = 2**24  # of each of many files
_MAX_HEADER = 2**20  # bytes of a tar archive's long name or extended header


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


class TarMember(NamedTuple):
    """What a tar archive holds under one name."""

    parts: tuple[str, ...] | None
    """The names of its folders and its own; None if it leads out of the archive."""
    data: bytes | None
    """None unless it is a regular file that was wanted."""


def read_tar(path: Path, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[TarMember]:
    """Each member of a ``.tar`` archive, or of a gzipped one, in its order, but no folder.

    No link is followed and no device opened: of all that is no regular file there is the name.
    The headers are read here and not by tarfile, which takes quadratic time for hostile ones
    (CVE-2024-6232) and keeps all of them.

    Args:
        wanted: whether the data of the regular file of these ``parts`` is.

    Raises:
        CorpusError: damaged, sparse, far too large unpacked, a wanted file of more than
            ``MAX_FILE_BYTES``, or more than ``MAX_FILES`` members.
        OSError: the file cannot be read.
    """
    import gzip
    import tarfile

    packed = path.suffix.lower() != ".tar"
    try:
        with path.open("rb") as file, gzip.open(file) if packed else file as stream:
            yield from _members(_Unpacked(path, stream), wanted)
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.HeaderError) as error:
        raise _damaged(path, error) from error


class _Unpacked:
    """The bytes of an archive as they are asked for: never far too many, and never too few."""

    def __init__(self, path: Path, stream: BufferedIOBase) -> None:
        self.path = path
        self._stream = stream
        self._packed = path.stat().st_size
        self._unpacked = 0

    def take(self, count: int) -> bytes:
        data = self._read(count)
        if len(data) != count:
            raise EOFError("it ends too early")
        return data

    def skip(self, count: int) -> None:
        for start in range(0, count, 2**20):
            self.take(min(2**20, count - start))

    def finish(self) -> None:
        """Read what is left, so that gzip compares its checksum."""
        while self._read(2**20):
            pass

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._unpacked += len(data)
        _refuse_bomb(self.path, self._unpacked, self._packed)
        return data


def _members(stream: _Unpacked, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[TarMember]:
    import tarfile

    files = 0
    extended: dict[bytes, bytes] = {}  # what is said about the next member
    while True:
        block = stream.take(512)
        if not any(block):
            return stream.finish()
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        size = _number(extended.get(b"size"), header.size)
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if size > _MAX_HEADER:
                raise tarfile.HeaderError("a name is far too long")
            said = stream.take(size)
            stream.skip(-size % 512)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                extended[b"path"] = said.rstrip(b"\0")
            else:
                extended |= _records(said)
            continue
        if header.type == tarfile.GNUTYPE_SPARSE or any(b".sparse." in key for key in extended):
            raise tarfile.HeaderError("it holds a sparse file")
        if header.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            stream.skip(size + -size % 512)
            continue
        files += 1
        if files > MAX_FILES:
            raise CorpusError(
                f"{stream.path} holds more than {MAX_FILES:,} files", "take a part of them"
            )
        name = extended.pop(b"path", b"").decode("utf-8", "surrogateescape") or header.name
        extended.clear()
        parts = _parts(name)
        data = None
        if header.isreg() and parts and wanted(parts):
            if size > MAX_FILE_BYTES:
                raise too_large(f"{shown(name)} in {stream.path}")
            data = stream.take(size)
            stream.skip(-size % 512)
        elif header.isreg() or header.type not in tarfile.SUPPORTED_TYPES:
            stream.skip(size + -size % 512)
        if not header.isdir():
            yield TarMember(parts, data)


def too_large(where: str) -> CorpusError:
    """The error for a file of more than ``MAX_FILE_BYTES`` among many."""
    return CorpusError(
        f"{where} is larger than {MAX_FILE_BYTES >> 20} MiB, too large for one text of many",
        "cut it, or leave it out",
    )


def _number(written: bytes | None, otherwise: int) -> int:
    """A size as an extended header writes it; no more digits than a number needs."""
    import tarfile

    if written is not None:
        if not written.isdigit() or len(written) > 20:
            raise tarfile.HeaderError("a size is no number")
        return int(written)
    if otherwise < 0:
        raise tarfile.HeaderError("a size is negative")
    return otherwise


def _records(said: bytes) -> dict[bytes, bytes]:
    r"""The records of an extended header, ``<length> <key>=<value>\n`` each."""
    import tarfile

    records = {}
    at = 0
    while at < len(said):
        digits = said[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = said[at : at + length]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) != length or record[-1:] != b"\n":
            raise tarfile.HeaderError("an extended header is damaged")
        records[key] = value
        at += length
    return records


def _parts(name: str) -> tuple[str, ...] | None:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    return None if name.startswith("/") or ".." in parts or not parts else parts
