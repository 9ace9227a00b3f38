"""Compressed texts, unpacked in blocks. Nothing is written to disk."""

from __future__ import annotations

import errno
import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from charlm.corpus.file_types import ZIP, zip_type
from charlm.errors import CorpusError, shown

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".csv", ".tsv", ".py", ".c", ".h")
"""Suffixes by which a text is found among the files of a zip archive."""

BLOCK = 2**20  # bytes that are read at once
MAX_BYTES = 2**30  # of the unpacked text
MAX_RATIO = 1000  # unpacked bytes per packed byte; deflate reaches 1,032
MAX_FILES = 10**6  # in one archive or folder
MAX_FILE_BYTES = 2**24  # of a file in an archive or folder of many
_MAX_HEADERS = 2**20  # bytes of the headers of one tar member, extended ones included
_DAMAGE = (gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError)
_PAX_TYPES = (b"x", b"g", b"X")
_EXTENDED_TYPES = (*_PAX_TYPES, b"L", b"K")  # tar headers whose content describes the next member


def _refuse_bomb(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > MAX_BYTES or unpacked > MAX_RATIO * packed:
        raise CorpusError(
            f"{path} unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_RATIO} times its size",
            "if you trust the file, unpack it and name the unpacked file",
        )


@contextmanager
def _unpacking(path: Path, header: str = "a header") -> Iterator[None]:
    """Turn an error about a damaged archive inside the block into a CorpusError."""
    damaged, hint = f"{path} cannot be unpacked: ", "fetch or copy the file again"
    try:
        yield
    except (*_DAMAGE, NotImplementedError) as error:
        raise CorpusError(f"{damaged}{error}", hint) from error
    except RecursionError as error:  # tarfile reads each extended header inside the one before
        raise CorpusError(f"{damaged}a file in it has too many headers", hint) from error
    except (ValueError, OSError) as error:
        # A name that cannot be decoded, or an offset before the start of the file. The message
        # may quote a whole header.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CorpusError(f"{damaged}{header} is damaged", hint) from error


def _text_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The only text file in a zip archive."""
    kind = zip_type(archive.namelist())
    if kind != ZIP:
        raise CorpusError(f"{path} is not plain text but {kind.name}", kind.hint)
    # macOS adds a hidden __MACOSX/._book.txt to a book.txt.
    names = {each: PurePosixPath(each.filename) for each in archive.infolist()}
    files = [
        each
        for each, name in names.items()
        if name.name and not name.name.startswith(".") and not each.is_dir()
    ]
    texts = [each for each in files if names[each].suffix.lower() in TEXT_SUFFIXES]
    if len(files) == 1:
        texts = files  # whatever its suffix; enwik8 has none
    if len(texts) != 1:
        some = ", ".join(member.filename for member in texts[:3])
        raise CorpusError(
            f"{path} holds {len(texts)} text files, not one"
            + (f": {some}{', ...' if len(texts) > 3 else ''}" if texts else ""),
            "unpack the archive; then name one text file, or the folder to read all of them",
        )
    if texts[0].flag_bits & 0x1:
        raise CorpusError(f"{path} is encrypted", "unpack the archive with its password first")
    return texts[0]


def zip_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of the only text file in a zip archive, in blocks.

    Raises:
        CorpusError: the archive does not hold exactly one text file, is encrypted or damaged, or
            unpacks to more than ``MAX_BYTES`` or ``MAX_RATIO`` times its size.
        OSError: the file cannot be read.
    """
    with _unpacking(path, "its directory of files"), zipfile.ZipFile(path) as archive:
        member = _text_member(path, archive)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # For other methods zipfile does not limit how much one read unpacks.
            raise NotImplementedError("its compression is neither deflate nor none")
        _refuse_bomb(path, member.file_size, member.compress_size)
        rest = member.file_size
        with archive.open(member) as stream:
            while block := stream.read(min(BLOCK, rest + 1)):
                rest -= len(block)
                yield block
        if rest:
            raise EOFError("it ends too early")


def gzip_blocks(path: Path) -> Iterator[bytes]:
    """The unpacked bytes of a gzip file, in blocks.

    Raises:
        CorpusError: the file is damaged, or unpacks to more than ``MAX_BYTES`` or ``MAX_RATIO``
            times its size.
        OSError: the file cannot be read.
    """
    packed, unpacked = path.stat().st_size, 0
    with _unpacking(path), gzip.open(path) as stream:
        while block := stream.read(BLOCK):
            unpacked += len(block)
            _refuse_bomb(path, unpacked, packed)
            yield block


def too_large(where: str) -> CorpusError:
    """The error for a file of more than ``MAX_FILE_BYTES`` in a folder or archive of many."""
    return CorpusError(
        f"{where} is larger than {MAX_FILE_BYTES >> 20} MiB, too large for one text of many",
        "shorten the file, or leave it out",
    )


class TarMember(NamedTuple):
    """A member: its folders and name, and the content if it is a wanted regular file."""

    parts: tuple[str, ...] | None  # None if the path leads out of the archive
    data: bytes | None


def read_tar(path: Path, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[TarMember]:
    """The members of a ``.tar`` archive, or of a gzipped one, in order, without its folders.

    Links are not followed and devices are not opened: such members have no data.

    Args:
        wanted: takes the ``parts`` of a regular file and says whether to read its data.

    Raises:
        CorpusError: the archive is damaged, has a sparse file or more than ``MAX_FILES`` members,
            unpacks to more than ``MAX_BYTES`` or ``MAX_RATIO`` times its size, or a wanted file
            has more than ``MAX_FILE_BYTES``.
        OSError: the file cannot be read.
    """
    packed = path.suffix.lower() != ".tar"
    with _unpacking(path), path.open("rb") as file, gzip.open(file) if packed else file as unpacked:
        stream = _TarStream(path, unpacked)
        archive = tarfile.TarFile(fileobj=stream, encoding="utf-8", errors="surrogateescape")
        member, files = archive.next(), 0
        while member is not None:
            if member.issparse() or any(".sparse." in key for key in member.pax_headers):
                raise tarfile.HeaderError("it holds a sparse file")
            if member.size < 0:
                raise tarfile.HeaderError("a size is negative")
            files += 1
            if files > MAX_FILES:
                raise CorpusError(f"{path} holds more than {MAX_FILES:,} files", "use a part of it")
            parts, data = _inside(member.name), None
            if member.isreg() and parts and wanted(parts):
                if member.size > MAX_FILE_BYTES:
                    raise too_large(f"{shown(member.name)} in {path}")
                data = stream.take(member.size)
            if not member.isdir():
                yield TarMember(parts, data)
            # TarFile.next keeps all members in memory and takes a damaged header for the end.
            stream.seek(archive.offset)
            stream.headers = 0
            archive.pax_headers = {}
            try:
                member = tarfile.TarInfo.fromtarfile(archive)
            except tarfile.HeaderError:
                if stream.ended:
                    break
                raise
        stream.finish()


def _inside(name: str) -> tuple[str, ...] | None:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    return None if name.startswith("/") or ".." in parts or not parts else parts


class _TarStream(io.BufferedIOBase):
    """The unpacked bytes of an archive for tarfile: read once from start to end, within limits.

    tarfile reads headers through ``read``. Old versions of tarfile take quadratic time for some
    extended headers (CVE-2024-6232), and none limits their length, so ``read`` checks them.
    """

    def __init__(self, path: Path, stream: io.BufferedIOBase) -> None:
        self._path, self._packed, self._stream = path, path.stat().st_size, stream
        self._at = 0
        self._extended = b""  # the type of the extended header whose content is read next
        self.headers = 0  # bytes of the headers read for one member
        self.ended = False  # whether the last header was the empty one at the end

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        while self._at < offset:
            self.take(min(2**20, offset - self._at))
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_HEADERS - self.headers:
            raise tarfile.HeaderError("the headers of a file are too long")
        self.headers += size
        data = self.take(size)
        if self._extended in _PAX_TYPES:
            _check_records(data)
        kind = b"" if self._extended else data[156:157]
        self._extended = kind if kind in _EXTENDED_TYPES else b""
        self.ended = not any(data)
        return data

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; an EOFError if fewer are left."""
        data = self._take(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data

    def finish(self) -> None:
        """Read the rest, so that gzip compares its checksum."""
        while self._take(2**20):
            pass

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        _refuse_bomb(self._path, self._at, self._packed)
        return data


def _check_records(data: bytes) -> None:
    r"""Refuse a pax header unless it consists of ``<length> <key>=<value>\n`` records."""
    at = 0
    while at < len(data) and data[at]:
        digits = data[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at : at + length]
        if b"=" not in record or len(record) != length or not record.endswith(b"\n"):
            raise tarfile.HeaderError("an extended header is damaged")
        at += length
    if re.search(rb"(?<!\d)\d{50}", data):
        raise tarfile.HeaderError("a number in an extended header is too long")
