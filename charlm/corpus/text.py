"""Read a text from a file, a folder, an archive or standard input, in one encoding."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from encodings.aliases import aliases
from pathlib import Path
from typing import TypeAlias

from charlm.corpus.archives import TEXT_SUFFIXES, is_text, read_gzip, read_zip
from charlm.errors import CorpusError, UsageError, counted, did_you_mean

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
# UTF-32 first: its little-endian mark begins with the mark of UTF-16.
_WIDE_BOMS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_PACKED_SUFFIXES = (*TEXT_SUFFIXES, ".tar", ".jsonl", ".ndjson")  # book.txt.gz is book
_SAMPLE = 2**16  # bytes that the encoding is guessed from
_EVIDENCE = 8  # non-ASCII bytes that a guess needs
# Only common encodings: among all encodings, German would be taken for Urdu or hp_roman8.
_GUESSES = [
    *("gb18030", "big5", "cp932", "euc_jp", "cp949", "koi8_r"),
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256"),
]

Parts: TypeAlias = tuple[str, ...]
"""A path relative to a folder or archive: the names of its folders, then of the file."""


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text before cleaning, with a short name for run folders and notices for the user."""

    text: str
    name: str
    sha256: str
    """The hash of the unpacked bytes; for several files, the hash of their digests in order."""
    notices: tuple[str, ...]
    raw: bytes | None = None
    """The bytes of standard input, which cannot be read again; None for any other source."""


def read_text(source: str | Path, *, encoding: str | None = None) -> SourceText:
    r"""The text of ``source``, with ``\n`` line ends and without a byte order mark.

    Args:
        source: a text file; a ``.gz`` file; a ``.zip`` archive with one text file; a folder; or
            ``"-"`` for standard input. A folder is read recursively in order of path: all files
            with a suffix in ``TEXT_SUFFIXES``, but no hidden files and no linked folders. A file
            that ends without a line end gets one.
        encoding: the name of a Python text encoding; None is strict UTF-8.

    Raises:
        CorpusError: the source is missing, unreadable, damaged, empty, or not text in that
            encoding.
        UsageError: the encoding is unknown.
    """
    if encoding is not None:
        check_encoding(encoding)
    notices: list[str] = []
    digests: list[bytes] = []
    texts: list[str] = []
    for where, raw in _parts(source, notices):
        digests.append(hashlib.sha256(raw).digest())
        texts.append(decode(raw, where, encoding))
    kept = raw if source == "-" else None
    del raw  # to free memory before the text is copied
    text = _joined(texts, notices)
    if not text:
        raise CorpusError(f"{source_words(source)} is empty", "name a file with text in it")
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    return SourceText(text, short_name(source), sha256.hex(), tuple(notices), kept)


def source_words(source: str | Path) -> str:
    """The name of a source in a message."""
    return "standard input" if source == "-" else str(source)


def short_name(source: str | Path) -> str:
    r"""A name for run folders: at most 40 characters, only word characters and ``-``."""
    if source == "-":
        return "stdin"
    path = Path(source).resolve()
    name = path.name if path.is_dir() else path.stem
    if path.suffix.lower() in (".gz", ".zip") and name.lower().endswith(_PACKED_SUFFIXES):
        name = Path(name).stem
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "text"


def check_encoding(encoding: str) -> None:
    """Raise a UsageError unless Python knows a text encoding of that name."""
    if not _is_encoding(encoding):
        names = {*aliases, *aliases.values()}
        known = sorted(filter(_is_encoding, names))  # without rot13 and hex, which are not for text
        wanted = encoding.lower().replace("-", "_")
        hint = did_you_mean(wanted, known, "such as utf-8, utf-16, gb18030, cp1252")
        raise UsageError(f"unknown encoding {encoding!r}", hint)


def _is_encoding(name: str) -> bool:
    with suppress(LookupError, ValueError):
        bytes(4).decode(name)  # four NUL bytes are valid in every text encoding
        return True
    return False


@contextmanager
def reading(where: Path | str) -> Iterator[None]:
    """Turn an error of the operating system inside the block into a CorpusError about ``where``."""
    try:
        yield
    except FileNotFoundError as error:
        raise CorpusError(f"no such file or folder: {where}", "check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"cannot read {where}: {reason}", "check the path and its permissions"
        ) from error


def _parts(source: str | Path, notices: list[str]) -> Iterator[tuple[Path | str, bytes]]:
    """For each file of ``source``, its path and raw bytes."""
    if source == "-":
        where = source_words(source)
        if sys.stdin is None:
            raise CorpusError(f"{where} is closed", "pipe a text into the command")
        with reading(where):
            raw = sys.stdin.buffer.read()
        yield where, raw
        return
    path = Path(source)
    with reading(path):
        mode = path.stat().st_mode
        files = _text_files(path, notices) if stat.S_ISDIR(mode) else [path]
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise CorpusError(
            f"{path} is not a regular file",
            "name a file or a folder; charlm train --corpus - reads a pipe",
        )
    read = {".zip": read_zip, ".gz": read_gzip}
    for file in files:
        with reading(file):
            raw = read.get(file.suffix.lower(), Path.read_bytes)(file)
        yield file, raw


def walk(folder: Path, deepest: int = sys.maxsize) -> Iterator[Parts]:
    """The files below a folder with at most ``deepest`` parts, in any order.

    Hidden and linked folders are left out. A folder that cannot be read is an OSError.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        above = Path(parent).relative_to(folder).parts
        deeper = len(above) + 1 < deepest
        folders[:] = [name for name in folders if deeper and not name.startswith(".")]
        yield from ((*above, name) for name in names)


def _text_files(folder: Path, notices: list[str]) -> list[Path]:
    """The text files under ``folder``, sorted by path; a notice counts the skipped files."""
    files = {folder.joinpath(*parts) for parts in walk(folder) if not parts[-1].startswith(".")}
    texts = {file for file in files if is_text(file) and file.is_file()}
    skipped = Counter(file.suffix or "without a suffix" for file in files - texts)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(skipped.items()))
    not_read = f"skipped {skipped.total()} ({kinds})" if skipped else "skipped none"
    if not texts:
        raise CorpusError(
            f"no text file in folder {folder}: {not_read}",
            f"text files end in {' '.join(sorted(TEXT_SUFFIXES))}",
        )
    notices.append(f"read {counted(len(texts), 'file')} of folder {folder}, {not_read}")
    return sorted(texts, key=lambda file: file.relative_to(folder).as_posix())


def _joined(texts: list[str], notices: list[str]) -> str:
    """The texts as one, with ``\\n`` line ends and without byte order marks."""
    marked = sum(text.startswith(_BOM) for text in texts)
    if marked:
        notices.append(f"removed a byte order mark at the start of {counted(marked, 'file')}")
    # Some files start with two marks. Remove both, so that reading the result changes nothing.
    texts = [text for text in (text.lstrip(_BOM) for text in texts) if text]
    for index, text in enumerate(texts[:-1]):
        if not text.endswith(("\n", "\r")):
            texts[index] = text + "\n"
    text = "".join(texts)
    pairs = text.count("\r\n")
    lone = text.count("\r") - pairs
    if pairs or lone:
        notices.append(f"changed line ends to \\n: {pairs:,} \\r\\n and {lone:,} \\r")
    return normalised(text)


def normalised(text: str) -> str:
    r"""``text`` with ``\n`` line ends and without byte order marks at its start."""
    return text.lstrip(_BOM).replace("\r\n", "\n").replace("\r", "\n")


def check_characters(text: str, where: Path | str) -> None:
    """Raise a CorpusError if a text has a lone surrogate, which UTF-7 and JSON can contain."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where} has U+{ord(text[error.start]):04X}, half a character, "
            f"at character offset {error.start:,}",
            "repair the text, or give another encoding",
        ) from error


def decode(raw: bytes, where: Path | str, encoding: str | None) -> str:
    """The text of the bytes read from ``where``; ``encoding`` None is UTF-8 without NUL bytes.

    Raises:
        CorpusError: the bytes are not in that encoding. The hint guesses the right one.
    """
    if encoding is None:
        for mark, wide in _WIDE_BOMS.items():
            if raw.startswith(mark):
                raise CorpusError(
                    f"{where} is not UTF-8: it begins with a {wide.upper()} byte order mark",
                    f"try --encoding {wide}",
                )
        offset = raw.find(b"\0")
        if offset >= 0:
            raise CorpusError(
                f"{where} has a NUL byte at byte offset {offset:,}: likely UTF-16 or binary",
                "name a text file, or give its encoding, such as --encoding utf-16",
            )
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeError as error:
        offset = getattr(error, "start", 0)
        line = raw.count(b"\n", 0, offset) + 1
        hint = "try another --encoding" if encoding else _encoding_hint(raw, offset)
        raise CorpusError(
            f"{where} is not {encoding or 'UTF-8'}: byte 0x{raw[offset : offset + 1].hex()} "
            f"at byte offset {offset:,}, line {line:,}",
            hint,
        ) from error


def _encoding_hint(raw: bytes, offset: int) -> str:
    """The hint for bytes that are valid UTF-8 only up to ``offset``."""
    if offset - len(raw[:offset].decode()) > 20:
        # More than 20 continuation bytes are not a coincidence: this is damaged UTF-8.
        return "the text before it is UTF-8, so the file is damaged: repair or replace it"
    # Whole lines, because a sample that cuts a character would mislead the guess.
    start = max(raw.rfind(b"\n", 0, offset) + 1, offset - _SAMPLE)
    end = raw.rfind(b"\n", offset, offset + _SAMPLE) + 1 or offset + _SAMPLE
    sample = raw[start:end]
    if sum(byte > 127 for byte in sample) >= _EVIDENCE:
        from charset_normalizer import from_bytes

        if best := from_bytes(sample, cp_isolation=_GUESSES).best():
            with suppress(UnicodeError):
                raw.decode(best.encoding)
                return f"looks like {best.encoding}: try --encoding {best.encoding}"
    return "give its encoding with --encoding, such as gb18030 or cp1252"
