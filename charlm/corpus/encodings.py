"""From bytes to text, in one encoding; and the likely encodings of bytes that are not UTF-8."""

from __future__ import annotations

import codecs
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from charlm.corpus.file_types import file_type

# UTF-32 first: its little-endian mark begins with the mark of UTF-16.
_WIDE_BOMS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_SAMPLE = 2**16  # bytes that the encoding is guessed from
_SWITCH = b"\x1b$"  # how Japanese, Korean and Chinese begin in the 7-bit encodings of ISO 2022
_STRANGE = re.compile(rb"[\x80-\xff\x1b]")
_NO_TEXT = re.compile(rb"[\x01-\x06\x0e-\x19]")  # control characters that texts do not have
_NON_ASCII = re.compile("[^\0-\x7f\ufffd]")
_PUNCTUATION = "\"'()[],.:;!?\u00ab\u00bb\u201c\u201d\u201e\u2026"
_SPACES = "\t\n\f\r"
_COMMON_MARKS = " \n.,\u3000\u3001\u3002\uff0c"  # spaces, line ends, commas and full stops
_SHOWN = 3  # encodings in a hint, and words that show what each reads
_WORD = 12  # characters of such a word
_SCANNED = 500  # words from which those are chosen
_LETTERS = re.compile(rb"[A-Za-z\x80-\xff]{2,}")
_RUN = re.compile(rb"[\x80-\xff]{4}")  # Western European texts have no such run
_FEW = 3  # words with such letters; fewer say little, and Western European is likeliest
_MULTIBYTE = ("gb18030", "big5", "cp932", "euc_jp", "cp949")
# Among encodings that read a text alike, the first of these is named.
_COMMON = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("cp932", "cp949", "gb18030", "big5", "iso8859-1", "iso8859-15", "iso8859-2", "koi8-r"),
]


class NotTextError(Exception):
    """Bytes are not plain text in an encoding.

    Attributes:
        kind: a few words, by which the files of a folder are counted.
        explain: takes a name for the bytes, and returns a message and a hint. It may take a while,
            because it guesses the encoding.
        is_text: whether the bytes may be text in another encoding.
    """

    def __init__(
        self,
        kind: str,
        explain: Callable[[Path | str], tuple[str, str]],
        *,
        is_text: bool = False,
    ) -> None:
        super().__init__(kind)
        self.kind, self.explain, self.is_text = kind, explain, is_text


def check_type(raw: bytes, path: Path | None = None) -> None:
    """Raise a NotTextError if a file's first bytes show another type; arguments as `file_type`."""
    if (other := file_type(raw, path)) is not None:
        says = f"is not plain text but {other.name}"
        kind = other.name.partition(" ")[2]
        raise NotTextError(kind, lambda where: (f"{where} {says}", other.hint))


def plain_text(raw: bytes, encoding: str | None) -> str:
    """The text of ``raw``; ``encoding`` None is UTF-8 without NUL bytes.

    Raises:
        NotTextError: the bytes are a file of another type, or not in that encoding.
    """
    check_type(raw)
    if encoding is None:
        _check_is_utf8(raw)
    try:
        return raw.decode(encoding or "utf-8")
    except UnicodeError as error:
        offset = getattr(error, "start", 0)
        name = encoding or "UTF-8"
        says = f"is not {name}: byte 0x{raw[offset : offset + 1].hex()} {_place(raw, offset)}"
        raise NotTextError(
            f"not {name}",
            lambda where: (
                f"{where} {says}",
                "try another --encoding" if encoding else _encoding_hint(raw, offset, where),
            ),
            is_text=not _NO_TEXT.search(raw),
        ) from error


def _check_is_utf8(raw: bytes) -> None:
    """Raise a NotTextError if bytes are in another encoding though UTF-8 could decode them."""
    wide = next((name for mark, name in _WIDE_BOMS.items() if raw.startswith(mark)), None)
    if wide is not None:
        says = f"is not UTF-8: it begins with a {wide.upper()} byte order mark"
        hint = f"try --encoding {wide}"
        raise NotTextError("not UTF-8", lambda where: (f"{where} {says}", hint), is_text=True)
    if b"\0" in raw:
        likely = _is_utf8_with_nuls(raw) or _wide_encoding(raw) is not None
        raise NotTextError(
            "with NUL bytes", lambda where: _explain_nuls(raw, where), is_text=likely
        )
    if b"\x1b" in raw and (offset := raw.find(_SWITCH)) >= 0:  # the first test is much faster
        says = f"is not UTF-8: it has an escape sequence of ISO 2022 {_place(raw, offset)}"
        raise NotTextError(
            "not UTF-8",
            lambda where: (f"{where} {says}", _encoding_hint(raw, offset, where)),
            is_text=True,
        )


class Decoder:
    """Bytes to text, block by block; `plain_text` does the same for the whole.

    ``also_utf8`` says after the last block whether the bytes are another text in UTF-8.
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding, self._tail = encoding, b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._utf8 = None if encoding is None else codecs.getincrementaldecoder("utf-8")()
        self._strange = False  # whether it is more than ASCII, so that the encoding matters

    def decode(self, block: bytes, *, final: bool = False) -> str:
        """The text of the next block.

        Raises:
            NotTextError: these bytes are not in the encoding, or may not be. Its ``explain`` is of
                no use: `plain_text` has the reason, which takes all bytes.
        """
        if self._decoder is None:
            self._decoder = self._start(block)
        try:
            if self._encoding is None:
                _check_is_utf8(self._tail + block)
                self._tail = block[-1:]
            else:
                self._compare(block, final)
            return self._decoder.decode(block, final)
        except UnicodeError as error:
            raise NotTextError("in another encoding", lambda where: (str(where), "")) from error

    def _start(self, block: bytes) -> codecs.IncrementalDecoder:
        name = codecs.lookup(self._encoding or "utf-8").name
        if name in ("utf-16", "utf-32") and not block.startswith((*_WIDE_BOMS,)):
            name += "-le" if sys.byteorder == "little" else "-be"  # as bytes.decode reads them
        wide = name.startswith(("utf-16", "utf-32"))
        self._strange = wide
        if name in ("utf-8", "utf-8-sig"):
            self._utf8 = None
        return codecs.getincrementaldecoder(name)()

    def _compare(self, block: bytes, final: bool) -> None:
        if self._utf8 is None:
            return
        self._strange = self._strange or not block.isascii()  # UTF-7 and ISO 2022 are ASCII too
        try:
            self._utf8.decode(block, final)
            if b"\0" in block:
                self._utf8 = None
        except UnicodeDecodeError:
            self._utf8 = None

    @property
    def also_utf8(self) -> bool:
        """Whether bytes that were read in another encoding are valid UTF-8 too."""
        return self._utf8 is not None and self._strange


def _place(raw: bytes, offset: int) -> str:
    line = raw.count(b"\n", 0, offset) + 1
    return f"at byte offset {offset:,}, line {line:,}"


def _explain_nuls(raw: bytes, where: Path | str) -> tuple[str, str]:
    """What bytes with NULs are: UTF-16 or UTF-32 without a mark, text with a few NULs, or data."""
    count = raw.count(b"\0")
    nuls = "a NUL byte" if count == 1 else f"{count:,} NUL bytes, the first"
    says = f"{where} has {nuls} {_place(raw, raw.find(0))}"
    if _is_utf8_with_nuls(raw):
        remove = _command("tr -d '\\000'", where)
        return says, f"text has none, so the file may be damaged; to remove them: {remove}"
    if (wide := _wide_encoding(raw)) is not None:
        begins = raw[: _SAMPLE // 2].decode(wide, "ignore").split()
        words = ", ".join(repr(word[:_WORD]) for word in begins[:_SHOWN])
        looks = wide.upper().replace("-LE", ", little-endian").replace("-BE", ", big-endian")
        return f"{says}: it looks like {looks}", f"try --encoding {wide} ({words})"
    return f"{says}: it is not text", "name a file of plain text"


def _command(filter: str, where: Path | str) -> str:
    """A shell command that filters a file, or a pipe, into a clean copy."""
    if isinstance(where, str):
        return filter
    return f"{filter} < {shlex.quote(str(where))} > {shlex.quote(f'clean-{where.name}')}"


def _is_utf8_with_nuls(raw: bytes) -> bool:
    """Whether only a few NULs keep bytes from being UTF-8."""
    count = raw.count(b"\0")
    few = count == 1 or count * 20 <= len(raw)
    return few and not _NO_TEXT.search(raw) and _decodes(raw, "utf-8")


def _wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, or None if it is neither."""
    likely: dict[str, int] = {}
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        if _decodes(raw, encoding):
            text = raw[:_SAMPLE].decode(encoding, "ignore")
            # Read in the wrong byte order, a space or a line end is another character, or none.
            if not any(unicodedata.category(c) in ("Cc", "Cn", "Co") for c in {*text} - {*_SPACES}):
                likely[encoding] = sum(map(text.count, _COMMON_MARKS))
    best = max(likely, key=likely.__getitem__, default=None)
    return best if best and likely[best] else None


def likely_encodings(sample: bytes) -> list[str]:
    """The encodings that a text may be in, likeliest first; each reads it as another text.

    Where several read it as the same text, the commonest of them stands for all.
    """
    import chardet

    words = {word for word in _LETTERS.findall(sample) if _STRANGE.search(word)}
    few = len(words) < _FEW and not _RUN.search(sample)
    found = chardet.detect_all(
        b"\n" + sample,  # so that a text that begins with "BM" is not taken for a picture
        max_bytes=len(sample) + 1,
        encoding_era=chardet.EncodingEra.ALL & ~chardet.EncodingEra.MAINFRAME,
    )
    names = [each["encoding"] or "" for each in found]
    readings: dict[str, list[str]] = {}
    for name in ["cp1252", *names] if few else [*names, "cp1252"]:
        with suppress(LookupError, UnicodeError):
            text = sample.decode(name)
            # These control characters are quotes or letters in another encoding.
            if not re.search("[\x1b\x80-\x9f]", text):
                readings.setdefault(text, []).append(codecs.lookup(name).name)
    rank = {name: number for number, name in enumerate(_COMMON)}
    return [min(equal, key=lambda name: rank.get(name, 99)) for equal in readings.values()]


def _encoding_hint(raw: bytes, offset: int, where: Path | str) -> str:
    """The hint for bytes that are UTF-8 only up to ``offset``: encodings, and what each reads."""
    around = raw[max(0, offset - _SAMPLE) : offset + _SAMPLE].decode(errors="replace")
    if len(_NON_ASCII.findall(around)) >= 10 * around.count("\ufffd") > 0:
        # This is not a coincidence: the file is damaged UTF-8.
        remove = _command("iconv -c -f utf-8 -t utf-8", where)
        return f"the text around it is UTF-8, so the file is damaged; to remove the bytes: {remove}"
    # Whole lines, because a sample that cuts a character would mislead the guess.
    start = max(raw.rfind(b"\n", 0, offset) + 1, offset - _SAMPLE)
    end = raw.rfind(b"\n", offset, offset + _SAMPLE) + 1 or offset + _SAMPLE
    likely = likely_encodings(raw[start:end])
    # Damage in the sample rules out an encoding that may still be seen in its first lines.
    first = likely_encodings(raw[start : raw.find(b"\n", start + 500, end) + 1 or end])[:1]
    if first and first[0] in _MULTIBYTE and first[0] not in likely:
        likely = [*first, *likely]
    if not likely:
        return "give its encoding with --encoding, such as gb18030 or cp1252"
    fitting = list(islice((name for name in likely if _decodes(raw, name)), _SHOWN))
    best = likely[0]
    if (best in _MULTIBYTE and best not in fitting) or not fitting:
        place = _place(raw, _first_error(raw, best) or 0)
        looks = _readings(raw[start:end], [best])[0].removeprefix("--encoding ")
        remove = _command(f"iconv -c -f {best} -t utf-8", where)
        return f"it looks like {looks} but is damaged {place}; to remove the bytes: {remove}"
    reads, *more = _readings(raw[start:end], fitting)
    return f"try {reads}" + (f"; if that reads wrong, {' or '.join(more)}" if more else "")


def _readings(sample: bytes, encodings: list[str]) -> list[str]:
    """The option for each encoding, with the words that the encodings read most differently."""

    def read(word: bytes, encoding: str) -> str:
        return repr(word.decode(encoding, "replace").strip(_PUNCTUATION)[:_WORD])

    def rank(word: bytes) -> tuple[int, bool]:
        return -len({read(word, name) for name in encodings}), len(word) < 4

    words = dict.fromkeys(word for word in sample.split() if _STRANGE.search(word))
    telling = sorted(islice(words, _SCANNED), key=rank)[:_SHOWN]
    return [
        f"--encoding {name} ({', '.join(read(word, name) for word in telling)})"
        for name in encodings
    ]


def _decodes(raw: bytes, encoding: str) -> bool:
    return _first_error(raw, encoding) is None


def _first_error(raw: bytes, encoding: str) -> int | None:
    """The offset of the first byte that is not in an encoding; None if all are."""
    try:
        raw.decode(encoding)
    except UnicodeError as error:
        return getattr(error, "start", 0)
    return None
