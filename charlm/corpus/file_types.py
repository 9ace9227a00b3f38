"""Recognise files that are not plain text by their first bytes."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class FileType(NamedTuple):
    """A kind of file that is not plain text."""

    name: str  # such as "a PDF file"
    hint: str  # what to do with it


_DOCUMENT = "save it as plain text in UTF-8, for example with pandoc -t plain, and name that file"
_PDF = "save it as plain text, for example with pdftotext, and name that file"
_OFFICE = "save it as plain text in UTF-8 in its own program, and name that file"
_PACKED = "unpack it, and name the text file, or the folder to read all of them"
_OTHER = "name a file of plain text"

ZIP = FileType("a zip archive", _PACKED + "; a .zip with one text is read as it is")
_GZIP = FileType("a gzip archive", "unpack it, or let its name end in .gz")

# Most have a byte that no text has, because a text may well begin with "BM" or "MZ".
_SIGNATURES = [
    (FileType(name, hint), pattern)
    for name, hint, pattern in (
        ("a PDF file", _PDF, rb"\s{0,8}%PDF-\d"),
        ("a PostScript file", _PDF, rb"%!PS-Adobe"),
        ("an RTF file", _DOCUMENT, rb"\s{0,8}\{\\rtf\d?[\\{\s]"),
        ("an old Word, Excel or PowerPoint file", _OFFICE, rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("a Mobipocket or Kindle book", _DOCUMENT, rb".{60}(BOOKMOBI|TEXtREAd)"),
        ("a DjVu file", _OFFICE, rb"AT&TFORM.{4}DJV"),
        ("a bzip2 archive", _PACKED, rb"BZh\d(1AY&SY|\x17rE8P\x90)"),
        ("an xz archive", _PACKED, rb"\xfd7zXZ\0"),
        ("a zstd archive", _PACKED, rb"\x28\xb5\x2f\xfd"),
        ("an lz4 archive", _PACKED, rb"\x04\x22\x4d\x18"),
        ("a compressed file", _PACKED, rb"\x1f[\x9d\xa0]"),
        ("a 7-Zip archive", _PACKED, rb"7z\xbc\xaf\x27\x1c"),
        ("a RAR archive", _PACKED, rb"Rar!\x1a\x07"),
        ("a tar archive", _PACKED, rb".{257}ustar(\0|  \0)"),
        ("a PNG image", _OTHER, rb"\x89PNG\r\n"),
        ("a JPEG image", _OTHER, rb"\xff\xd8\xff"),
        ("a GIF image", _OTHER, rb"GIF8[79]a"),
        ("a WebP image", _OTHER, rb"RIFF.{4}WEBP"),
        ("a TIFF image", _OTHER, rb"II\*\0|MM\0\*"),
        ("a BMP image", _OTHER, rb"BM.{4}\0{4}"),
        ("an icon", _OTHER, rb"\0\0[\1\2]\0.\0"),
        (
            "a sound file",
            _OTHER,
            rb"RIFF.{4}WAVE|OggS\0|fLaC\0|ID3[\2-\4]|MThd\0|\xff[\xfb\xf3][\x10-\xef]",
        ),
        ("a video", _OTHER, rb"RIFF.{4}AVI |\0.{3}ftyp|\x1aE\xdf\xa3|FLV\x01|\0\0\x01[\xb3\xba]"),
        ("a SQLite database", _OTHER, rb"SQLite format 3\0"),
        ("a Parquet table", _OTHER, rb"PAR1[\0-\x1f]"),
        ("an Arrow table", _OTHER, rb"ARROW1\0|FEA1\0"),
        ("an HDF5 file", _OTHER, rb"\x89HDF\r\n"),
        ("a NumPy array", _OTHER, rb"\x93NUMPY"),
        ("a safetensors file", _OTHER, rb".{5}\0{3}\{\""),
        ("a pickle", _OTHER, rb"\x80[\2-\5]"),
        ("a font", _OTHER, rb"OTTO\0|\0\x01\0\0\0|wOF[F2][\0\1OCt]"),
        (
            "a program",
            _OTHER,
            rb"\x7fELF|MZ.{0,62}\0\0|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe|\0asm",
        ),
        ("a compiled Python file", _OTHER, rb"..\r\n[\0-\3]\0\0\0"),
        (*_GZIP, rb"\x1f\x8b\x08"),
        (*ZIP, rb"PK(\x03\x04|\x05\x06|\x07\x08)"),
    )
]


_ANY = re.compile(b"|".join(b"(?:%b)" % start for _, start in _SIGNATURES), re.DOTALL)


def file_type(raw: bytes, path: Path | None = None) -> FileType | None:
    """The type of a file by its first bytes, or None if it may be plain text.

    Args:
        raw: the content, or at least its first 512 bytes.
        path: the file itself, if ``raw`` is only a part of it.
    """
    if not _ANY.match(raw):
        return None
    found = next((kind for kind, start in _SIGNATURES if re.match(start, raw, re.DOTALL)), None)
    if found == ZIP:
        try:
            with zipfile.ZipFile(path or io.BytesIO(raw)) as archive:
                return zip_type(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return ZIP
    return found


def zip_type(members: Collection[str]) -> FileType:
    """The type of a zip archive by the names of its members; `ZIP` if it is only an archive."""
    known = {
        "META-INF/container.xml": FileType("an EPUB book", _DOCUMENT),
        "word/document.xml": FileType("a Word document", _DOCUMENT),
        "xl/workbook.xml": FileType("an Excel workbook", _OFFICE),
        "ppt/presentation.xml": FileType("a PowerPoint presentation", _OFFICE),
        "content.xml": FileType("an OpenDocument file", _DOCUMENT),
        "META-INF/MANIFEST.MF": FileType("a Java archive", _OTHER),
    }
    for member, kind in known.items():
        if member in members:
            return kind
    if any(name.endswith("/data.pkl") for name in members):
        return FileType("a PyTorch file", _OTHER)
    if members and all(name.endswith(".npy") for name in members):
        return FileType("a NumPy archive", _OTHER)
    return ZIP
