"""Read a text from a file, a folder, an archive or standard input, in one encoding."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from encodings.aliases import aliases
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from charlm.corpus.archives import BLOCK, TEXT_SUFFIXES, gzip_blocks, zip_blocks
from charlm.corpus.encodings import Decoder, NotTextError, check_type, plain_text
from charlm.errors import CorpusError, UsageError, counted, did_you_mean, shown

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_PACKED_SUFFIXES = (*TEXT_SUFFIXES, ".tar", ".jsonl", ".ndjson")  # book.txt.gz is book
_GENERATED = ("node_modules", "__pycache__")  # folders of generated files
_HEAD = 2**16  # bytes that show whether most files are text

PIECE = 2**18  # characters of a piece of text; pieces fit into a processor's cache

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


def read_text(
    source: str | Path,
    *,
    encoding: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> SourceText:
    """The text of ``source`` as one string; arguments and errors are those of `TextReader`."""
    reader = TextReader(source, encoding=encoding, include=include, exclude=exclude)
    text = "".join(reader.pieces())
    return SourceText(
        text, short_name(source), reader.facts.sha256, reader.notices, reader.warnings
    )


@dataclass(slots=True)
class TextFacts:
    """What is known of a text after it was read."""

    sha256: str = ""  # as in ``SourceText``
    marked: int = 0  # files that began with a byte order mark
    pairs: int = 0  # line ends that were CR LF
    lone: int = 0  # line ends that were CR
    also_utf8: bool = False  # whether it was read in another encoding, but is valid UTF-8


class TextReader:
    r"""A text with ``\n`` line ends and without a byte order mark, read in pieces.

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
        CorpusError: the source is missing or unreadable. `pieces` raises it too: the source is
            damaged, empty, or not plain text in that encoding; or no file of the folder is.
        UsageError: the encoding is unknown.
    """

    facts: TextFacts  # of the text that `pieces` has read to its end
    raw: bytes | None = None  # standard input, which cannot be read again; None for other sources

    def __init__(
        self,
        source: str | Path,
        *,
        encoding: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        if encoding is not None:
            check_encoding(encoding)
        self._source, self.encoding = source, encoding
        self._about: tuple[list[str], list[str]] = [], []  # notices, warnings: the choice of files
        self._skipped: tuple[list[str], list[str]] = [], []  # the same: the files that are no text
        self._files: list[str] | None = None
        if source == "-":
            self.raw = _standard_input()
            return
        with reading(source):
            is_folder = stat.S_ISDIR(os.stat(source).st_mode)
        if is_folder:
            self._files = _files(Path(source), include, exclude, *self._about)
        else:
            _check_is_regular(Path(source))

    @property
    def size(self) -> int:
        """The number of bytes of all files, as they are stored."""
        if self.raw is not None:
            return len(self.raw)
        names = [""] if self._files is None else self._files
        size = 0
        for name in names:
            with suppress(OSError):
                size += os.stat(os.path.join(self._source, name) if name else self._source).st_size
        return size

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the text that was read."""
        notices, facts = [*self._about[0], *self._skipped[0]], self.facts
        if facts.marked:
            files = counted(facts.marked, "file")
            notices.append(f"removed a byte order mark at the start of {files}")
        if facts.pairs or facts.lone:
            notices.append(
                f"changed line ends to \\n: {facts.pairs:,} \\r\\n and {facts.lone:,} \\r"
            )
        return tuple(notices)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be a mistake in the text that was read."""
        warnings = [*self._about[1], *self._skipped[1]]
        if self.facts.also_utf8:
            warnings.append(
                f"{source_words(self._source)} was read as {self.encoding}, but it is valid UTF-8 "
                f"too; if it reads wrong, leave out --encoding"
            )
        return tuple(warnings)

    def sha256(self) -> str:
        """The hash of the text, without reading it as text where that is possible."""
        if self._files is not None:
            for _ in self.pieces():
                pass
            return self.facts.sha256
        digest = hashlib.sha256()
        for block in self._blocks():
            digest.update(block)
        return digest.hexdigest()

    def pieces(self) -> Iterator[str]:
        """Pieces of about a million characters, none of them empty; then `facts` are known.

        Raises:
            CorpusError: as above.
        """
        facts, digests = TextFacts(), list[bytes]()
        files = (
            iter([self._stream(facts, digests)])
            if self._files is None
            else self._texts(facts, digests)
        )
        empty = True
        for piece in _joined(files, facts):
            empty = False
            yield piece
        if empty:
            raise CorpusError(
                f"{source_words(self._source)} is empty", "name a file with text in it"
            )
        whole = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
        facts.sha256 = whole.hex()
        self.facts = facts

    def _blocks(self) -> Iterator[bytes]:
        """The unpacked bytes of the file or of standard input."""
        if self.raw is not None:
            yield from (self.raw[at : at + BLOCK] for at in range(0, len(self.raw), BLOCK))
            return
        path = Path(self._source)
        with reading(path):
            packed = {".zip": zip_blocks, ".gz": gzip_blocks}.get(path.suffix.lower())
            yield from packed(path) if packed else _file_blocks(path)

    def _stream(self, facts: TextFacts, digests: list[bytes]) -> Iterator[str]:
        """The text of the file or of standard input."""
        try:
            yield from _decoded(self._blocks(), self.encoding, facts, digests)
        except NotTextError:
            where = source_words(self._source) if self.raw is not None else Path(self._source)
            decode(b"".join(self._blocks()), where, self.encoding)  # raises the reason
            raise CorpusError(
                f"{where} changed while it was read", "try again when it is complete"
            ) from None

    def _texts(self, facts: TextFacts, digests: list[bytes]) -> Iterator[Iterable[str]]:
        """The text of each file of the folder that is plain text; the others are named."""
        folder, files = Path(self._source), self._files or []
        skipped: dict[str, list[str]] = {}
        failure: tuple[Path, NotTextError] | None = None
        for name in files:
            file = os.path.join(folder, name)  # folder / name takes five times as long
            try:
                text = _file_text(file, self.encoding, facts, digests)
            except NotTextError as error:
                skipped.setdefault(error.kind, []).append(name)
                if failure is None or (error.is_text and not failure[1].is_text):
                    failure = Path(file), error
            else:
                yield text
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
        said = [f"read {counted(read, 'file')} of folder {folder}, {not_read}"]
        self._skipped = ([], said) if odd else (said, [])


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


def _standard_input() -> bytes:
    where = source_words("-")
    if sys.stdin is None:
        raise CorpusError(f"{where} is closed", "pipe a text into the command")
    with reading(where):
        return sys.stdin.buffer.read()


def _check_is_regular(path: Path) -> None:
    with reading(path):
        regular = stat.S_ISREG(path.stat().st_mode)
    if not regular:
        raise CorpusError(
            f"{path} is not a regular file",
            "name a file or a folder; charlm train --corpus - reads a pipe",
        )


def _file_blocks(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            yield block


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


def _counted_files(kind: str, names: Sequence[str]) -> str:
    """A count of files with the names of a few: ``4 PNG images (a.png, b.png, c.png, ...)``."""
    is_noun = not kind.startswith(("not ", "with "))
    count = counted(len(names), kind) if is_noun else f"{len(names):,} {kind}"
    return f"{count} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _file_text(
    file: str, encoding: str | None, facts: TextFacts, digests: list[bytes]
) -> Iterable[str]:
    """The text of a file of a folder; a NotTextError if it is none.

    The first bytes are looked at first, because most files that are no text show it there.
    """
    with reading(file):
        if not os.path.isfile(file):
            raise NotTextError("not regular", lambda where: (f"{where} is not a regular file", ""))
        with open(file, "rb", buffering=0) as stream:
            raw = stream.read(_HEAD)
            if len(raw) == _HEAD:
                check_type(raw, Path(file))
                if encoding is None and b"\0" in raw:
                    plain_text(raw, encoding)
                raw += stream.read(BLOCK)
    if len(raw) < BLOCK:
        text = [plain_text(raw, encoding)]
        if encoding is None:
            digests.append(hashlib.sha256(raw).digest())
            return text
        return list(_decoded([raw], encoding, facts, digests))
    try:  # the whole file, before its first piece is used
        for _ in _decoded(_file_blocks(file), encoding, TextFacts(), []):
            pass
    except NotTextError:
        with reading(file):
            plain_text(Path(file).read_bytes(), encoding)  # raises the reason
    return _decoded(_file_blocks(file), encoding, facts, digests)


def _decoded(
    blocks: Iterable[bytes], encoding: str | None, facts: TextFacts, digests: list[bytes]
) -> Iterator[str]:
    """The text of the blocks of a file; its digest is added to ``digests`` at the end.

    Raises:
        NotTextError: as `Decoder`.
    """
    digest, decoder, first = hashlib.sha256(), Decoder(encoding), True
    for block in blocks:
        if first:
            check_type(block)
            first = False
        digest.update(block)
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)
    facts.also_utf8 |= decoder.also_utf8
    digests.append(digest.digest())


def _joined(files: Iterable[Iterable[str]], facts: TextFacts) -> Iterator[str]:
    """The texts of files as one, with ``\\n`` line ends and without byte order marks."""
    kept: list[str] = []  # pieces that are too short to be given out alone
    size, last = 0, ""  # their characters; the last character so far, or none
    for file in files:
        begins, marked = True, False
        for piece in file:
            if begins:
                # Some files start with two marks. Remove both, so that reading the result changes
                # nothing.
                text = piece.lstrip(_BOM)
                marked |= text != piece
                if not text:
                    continue
                begins = False
                if last and last not in "\n\r":
                    text = "\n" + text
            elif piece:
                text = piece
            else:
                continue
            last = text[-1]
            kept.append(text)
            size += len(text)
            if size >= PIECE:
                whole = "".join(kept)
                # A return at the end may be the first half of a line end.
                kept = ["\r"] if last == "\r" else []
                size = len(kept)
                yield _counted_line_ends(whole[: len(whole) - size], facts)
        facts.marked += marked
    if kept:
        yield _counted_line_ends("".join(kept), facts)


def _counted_line_ends(text: str, facts: TextFacts) -> str:
    if "\r" in text:
        pairs = text.count("\r\n")
        facts.pairs += pairs
        facts.lone += text.count("\r") - pairs
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def normalised(text: str) -> str:
    r"""``text`` with ``\n`` line ends and without byte order marks at its start."""
    return text.lstrip(_BOM).replace("\r\n", "\n").replace("\r", "\n")


def check_characters(text: str, where: Path | str, before: int = 0) -> None:
    """Raise a CorpusError if a text has a lone surrogate, which UTF-7 and JSON can contain.

    ``before`` is the number of characters before the text, for the message.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{where} has U+{ord(text[error.start]):04X}, half a character, "
            f"at character offset {before + error.start:,}",
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
