"""Read a text from a file, a folder, an archive or standard input, in one encoding."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from encodings.aliases import aliases
from pathlib import Path

from charlm.corpus.archives import BLOCK, TEXT_SUFFIXES, gzip_blocks, zip_blocks
from charlm.corpus.encodings import NotTextError
from charlm.corpus.text_files import (
    TextFacts,
    decode,
    decoded,
    file_blocks,
    file_text,
    joined,
    reading,
)
from charlm.corpus.text_folders import chosen_files, counted_files
from charlm.errors import CorpusError, UsageError, counted, did_you_mean

_PACKED_SUFFIXES = (*TEXT_SUFFIXES, ".tar", ".jsonl", ".ndjson")  # book.txt.gz is book


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
            self._files = chosen_files(Path(source), include, exclude, *self._about)
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
        for piece in joined(files, facts):
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
            yield from packed(path) if packed else file_blocks(path)

    def _stream(self, facts: TextFacts, digests: list[bytes]) -> Iterator[str]:
        """The text of the file or of standard input."""
        try:
            yield from decoded(self._blocks(), self.encoding, facts, digests)
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
                text = file_text(file, self.encoding, facts, digests)
            except NotTextError as error:
                skipped.setdefault(error.kind, []).append(name)
                if failure is None or (error.is_text and not failure[1].is_text):
                    failure = Path(file), error
            else:
                yield text
        count = sum(map(len, skipped.values()))
        read = len(files) - count
        kinds = ", ".join(counted_files(kind, names) for kind, names in sorted(skipped.items()))
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
