"""Files to pieces of text: blocks of bytes are decoded, and their line ends made alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from charlm.corpus.archives import BLOCK
from charlm.corpus.encodings import Decoder, NotTextError, check_type, plain_text
from charlm.errors import CorpusError

_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
_HEAD = 2**16  # bytes that show whether most files are text

PIECE = 2**18  # characters of a piece of text; pieces fit into a processor's cache


@dataclass(slots=True)
class TextFacts:
    """What is known of a text after it was read."""

    sha256: str = ""  # as in ``SourceText``
    marked: int = 0  # files that began with a byte order mark
    pairs: int = 0  # line ends that were CR LF
    lone: int = 0  # line ends that were CR
    also_utf8: bool = False  # whether it was read in another encoding, but is valid UTF-8


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


def file_blocks(path: str | Path) -> Iterator[bytes]:
    """The bytes of a file, in blocks."""
    with open(path, "rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            yield block


def file_text(
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
        return list(decoded([raw], encoding, facts, digests))
    try:  # the whole file, before its first piece is used
        for _ in decoded(file_blocks(file), encoding, TextFacts(), []):
            pass
    except NotTextError:
        with reading(file):
            plain_text(Path(file).read_bytes(), encoding)  # raises the reason
    return decoded(file_blocks(file), encoding, facts, digests)


def decoded(
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


def joined(files: Iterable[Iterable[str]], facts: TextFacts) -> Iterator[str]:
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
