"""Read a text from a file, a folder, an archive or standard input, in one encoding."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from encodings.aliases import aliases
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from charlm.corpus.archives import TEXT_SUFFIXES, read_gzip, read_zip
from charlm.corpus.encodings import NotTextError, check_type, plain_text
from charlm.errors import CorpusError, UsageError, counted, did_you_mean, shown

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PACKED_SUFFIXES = (*TEXT_SUFFIXES, ".tar", ".jsonl", ".ndjson")  # book.txt.gz is book
_GENERATED = ("node_modules", "__pycache__")  # folders of generated files
_HEAD = 2**16  # bytes that show whether most files are text

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
    warnings: tuple[str, ...] = ()
    """What may be a mistake, such as a folder of which most files were skipped."""
    raw: bytes | None = None
    """The bytes of standard input, which cannot be read again; None for any other source."""


def read_text(
    source: str | Path,
    *,
    encoding: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> SourceText:
    r"""The text of ``source``, with ``\n`` line ends and without a byte order mark.

    Args:
        source: a text file; a ``.gz`` file; a ``.zip`` archive with one text file; a folder; or
            ``"-"`` for standard input. A folder is read recursively in order of path: all files
            that are plain text in the encoding, but no hidden files, and no hidden, generated,
            linked or run folders. A file that ends without a line end gets one.
        encoding: the name of a Python text encoding; None is strict UTF-8.
        include: globs; of a folder, only files that match one of them are read. A glob matches the
            name of a file or of a folder above it, or its path relative to ``source``. ``*`` also
            matches ``/``, and upper and lower case are the same.
        exclude: globs; of a folder, files that match one of them are not read.

    Raises:
        CorpusError: the source is missing, unreadable, damaged, empty, or not plain text in that
            encoding; or no file of the folder is.
        UsageError: the encoding is unknown.
    """
    if encoding is not None:
        check_encoding(encoding)
    notices: list[str] = []
    warnings: list[str] = []
    digests: list[bytes] = []
    texts: list[str] = []
    kept: bytes | None = None
    also_utf8 = False
    with reading(source_words(source)):
        is_folder = source != "-" and stat.S_ISDIR(os.stat(source).st_mode)
    if is_folder:
        files = _files(Path(source), include, exclude, notices, warnings)
        for raw, text in _texts(Path(source), files, encoding, notices, warnings):
            digests.append(hashlib.sha256(raw).digest())
            texts.append(text)
            also_utf8 |= _is_also_utf8(raw, text, encoding)
    else:
        raw = _content(source)
        digests.append(hashlib.sha256(raw).digest())
        texts.append(decode(raw, _where(source), encoding))
        also_utf8 = _is_also_utf8(raw, texts[0], encoding)
        kept = raw if source == "-" else None
    del raw  # to free memory before the text is copied
    if also_utf8:
        warnings.append(
            f"{source_words(source)} was read as {encoding}, but it is valid UTF-8 too; if it "
            f"reads wrong, leave out --encoding"
        )
    text = _joined(texts, notices)
    if not text:
        raise CorpusError(f"{source_words(source)} is empty", "name a file with text in it")
    sha256 = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
    name = short_name(source)
    return SourceText(text, name, sha256.hex(), tuple(notices), tuple(warnings), kept)


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


def _content(source: str | Path) -> bytes:
    """The bytes of standard input or of a file, unpacked."""
    where = _where(source)
    if source == "-":
        if sys.stdin is None:
            raise CorpusError(f"{where} is closed", "pipe a text into the command")
        with reading(where):
            return sys.stdin.buffer.read()
    path = Path(source)
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorpusError(
                f"{path} is not a regular file",
                "name a file or a folder; charlm train --corpus - reads a pipe",
            )
        read = {".zip": read_zip, ".gz": read_gzip}.get(path.suffix.lower(), Path.read_bytes)
        return read(path)


def _where(source: str | Path) -> Path | str:
    return source_words(source) if source == "-" else Path(source)


def walk(folder: Path, deepest: int = sys.maxsize) -> Iterator[Parts]:
    """The files below a folder with at most ``deepest`` parts, in any order.

    Hidden, generated, linked and run folders are left out. A folder that cannot be read is an
    OSError.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        if "run.json" in names and "vocabulary.json" in names:
            folders.clear()  # a run folder, made by charlm
            continue
        above = Path(parent).relative_to(folder).parts
        deeper = len(above) + 1 < deepest
        folders[:] = [
            name
            for name in folders
            if deeper and not name.startswith(".") and name not in _GENERATED
        ]
        yield from ((*above, name) for name in names)


def _files(
    folder: Path,
    include: Sequence[str],
    exclude: Sequence[str],
    notices: list[str],
    warnings: list[str],
) -> list[str]:
    """The files of a folder that the globs choose: their paths relative to it, sorted."""
    with reading(folder):
        found = sorted("/".join(parts) for parts in walk(folder) if not parts[-1].startswith("."))
    matching = {
        option: {glob: {file for file in found if matches(file, glob)} for glob in globs}
        for option, globs in (("--include", include), ("--exclude", exclude))
    }
    unused = [
        f"{option} {shown(glob)}"
        for option, globs in matching.items()
        for glob, files in globs.items()
        if not files
    ]
    included = set().union(*matching["--include"].values()) if include else {*found}
    chosen = included.difference(*matching["--exclude"].values())
    if found and not chosen:
        suffixes = Counter(PurePosixPath(file).suffix or "no suffix" for file in found)
        kinds = ", ".join(f"{count} with {suffix}" for suffix, count in suffixes.most_common(5))
        no = f"no file of folder {folder} is left by "
        no += " and ".join(option for option, globs in matching.items() if globs)
        raise CorpusError(no, f"the folder has {counted(len(found), 'file')}: {kinds}")
    if unused:
        warnings.append(f"no file of folder {folder} matches {' or '.join(unused)}")
    if left_out := len(found) - len(chosen):
        notices.append(f"left out {counted(left_out, 'file')} by --include or --exclude")
    return sorted(chosen)


def matches(file: str, glob: str) -> bool:
    """Whether a file, by its path in a folder with ``/``, matches a glob as in ``read_text``."""
    pattern = glob.replace(os.sep, "/").removeprefix("./").removesuffix("/").replace("**/", "")
    path = PurePosixPath(file)
    above = [path, *path.parents][:-1]
    names = {name.casefold() for each in above for name in (str(each), each.name)}
    return any(fnmatchcase(name, pattern.casefold()) for name in names)


def _texts(
    folder: Path,
    files: Sequence[str],
    encoding: str | None,
    notices: list[str],
    warnings: list[str],
) -> Iterator[tuple[bytes, str]]:
    """The bytes and the text of each file that is plain text; the others are named."""
    skipped: dict[str, list[str]] = {}
    failure: tuple[Path, NotTextError] | None = None
    for name in files:
        file = folder / name
        try:
            raw = _head_first(file, encoding)
            text = plain_text(raw, encoding)
        except NotTextError as error:
            skipped.setdefault(error.kind, []).append(name)
            if failure is None or (error.is_text and not failure[1].is_text):
                failure = file, error
        else:
            yield raw, text
    count = sum(map(len, skipped.values()))
    read = len(files) - count
    kinds = ", ".join(_counted_files(kind, names) for kind, names in sorted(skipped.items()))
    not_read = f"skipped {count}: {kinds}" if skipped else "skipped none"
    if not read:
        hint = "name a folder with files of plain text in it"
        if failure is not None and failure[1].is_text:
            hint = failure[1].explain(failure[0])[1]
        raise CorpusError(f"no text file in folder {folder}: {not_read}", hint)
    # A text in another encoding is easily missed, and so are most files of a folder.
    odd = count > read or (failure is not None and failure[1].is_text)
    said = f"read {counted(read, 'file')} of folder {folder}, {not_read}"
    (warnings if odd else notices).append(said)


def _counted_files(kind: str, names: Sequence[str]) -> str:
    """A count of files with the names of a few: ``4 PNG images (a.png, b.png, c.png, ...)``."""
    is_noun = not kind.startswith(("not ", "with "))
    count = counted(len(names), kind) if is_noun else f"{len(names):,} {kind}"
    return f"{count} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _head_first(file: Path, encoding: str | None) -> bytes:
    """The bytes of a file, of which only the first are read if they show that it is no text."""
    with reading(file):
        if not file.is_file():
            raise NotTextError("not regular", lambda where: (f"{where} is not a regular file", ""))
        with file.open("rb") as stream:
            head = stream.read(_HEAD)
            check_type(head, file)
            if encoding is None and b"\0" in head:
                plain_text(head, encoding)
        return head if len(head) < _HEAD else file.read_bytes()


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


def _is_also_utf8(raw: bytes, text: str, encoding: str | None) -> bool:
    """Whether bytes that were read as ``text`` in an encoding are another text in UTF-8."""
    if encoding is None or b"\0" in raw:
        return False
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if raw.isascii() and not wide:  # UTF-7 and ISO 2022 are ASCII too
        return False
    with suppress(UnicodeDecodeError):
        return raw.decode("utf-8-sig") != text.lstrip(_BOM)
    return False


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
        CorpusError: the bytes are a file of another type, or not in that encoding. The hint says
            what to do, and shows a few words in the encodings that are likely.
    """
    try:
        return plain_text(raw, encoding)
    except NotTextError as error:
        raise CorpusError(*error.explain(where)) from error
