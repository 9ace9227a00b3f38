"""From a text to token ids, piece by piece, so that memory does not depend on the length."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

from charlm.corpus import id_cache
from charlm.corpus.cleaning import LineCleaning, clean_pieces
from charlm.corpus.text import TextReader
from charlm.corpus.text_files import TextFacts
from charlm.corpus.vocabulary import BLOCK, Counts, Vocabulary, narrow_code_points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGE = 2**24  # bytes of ids from which they are kept in a file


@dataclass(frozen=True, eq=False)
class EncodedText:
    """A cleaned text as ids of its own characters, so that the ids give back every character."""

    vocabulary: Vocabulary
    ids: NDArray[np.integer]
    """(N,), of the smallest integer type; those of a large text are mapped from a file."""
    blank_lines: int = 0
    """The lines that were left out, if lines were read."""
    notices: tuple[str, ...] = ()


def encode_text(reader: TextReader, cleaning: str, *, lines: bool = False) -> EncodedText:
    """Clean and encode a text; the ids of a large text come from the cache if it has them.

    The text is read or hashed each time, so that a changed one is never taken for the old one.

    Args:
        lines: clean each line alone, and leave out blank lines.

    Raises:
        CorpusError: as ``reader.pieces``.
    """
    found, how, size = None, (reader.encoding, cleaning, lines), reader.size
    if id_cache.has_text_of(size):
        found = id_cache.find(id_cache.file_name(size, reader.sha256(), *how))
        if found is not None:
            ids, about = found
            reader.facts = TextFacts(**about["facts"])
            return EncodedText(Vocabulary.from_json(about["vocabulary"]), ids, about["blank"])
    cleaner, counts = LineCleaning(), Counts()
    clean = cleaner.pieces if lines else clean_pieces
    with _Spool() as spool:
        for piece in clean(reader.pieces(), cleaning):
            points = narrow_code_points(piece)
            counts.add(points)
            spool.add(points)
        vocabulary = Vocabulary(tuple(map(chr, counts.most_common())))
        table = vocabulary.narrow_ids
        notices: tuple[str, ...] = ()

        def blocks() -> Iterator[NDArray[np.integer]]:
            return (table.take(points, mode="clip") for points in spool)

        if spool.length * table.itemsize >= LARGE:
            name = id_cache.file_name(size, reader.facts.sha256, *how)
            about = {
                "vocabulary": vocabulary.to_json(),
                "blank": cleaner.blank,
                "facts": asdict(reader.facts),
            }
            try:
                id_cache.write(name, blocks(), about)
                found = id_cache.find(name)
            except OSError as error:
                notices = (
                    f"the token ids cannot be kept in {id_cache.cache_folder()} "
                    f"({error.strerror or error}), so each start will encode the text again",
                )
        ids = found[0] if found is not None else _in_memory(blocks(), spool.length, table.dtype)
    return EncodedText(vocabulary, ids, cleaner.blank, notices)


def _in_memory(
    blocks: Iterable[NDArray[np.integer]], length: int, dtype: np.dtype[np.integer]
) -> NDArray[np.integer]:
    import numpy as np

    ids, start = np.empty(length, dtype), 0
    for block in blocks:
        ids[start : start + len(block)] = block
        start += len(block)
    return ids


def renumbered(ids: NDArray[np.integer], table: NDArray[np.integer]) -> NDArray[np.integer]:
    """``table[ids]``, (N,), in the type of the table; (V,), its last entry is for higher ids.

    A large result is mapped from a file without a name, if one can be written.
    """

    def blocks() -> Iterator[NDArray[np.integer]]:
        # take makes indices of 8 bytes of the ids
        return (table.take(block, mode="clip") for block in id_cache.in_blocks(ids, BLOCK))

    if len(ids) * table.itemsize >= LARGE:
        with suppress(OSError):
            return id_cache.unnamed(blocks(), table.dtype)
    return _in_memory(blocks(), len(ids), table.dtype)


class _Spool:
    """Arrays in order: some in memory, and those before them in a temporary file.

    If the file cannot be written, all further ones stay in memory.
    """

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.unsignedinteger]] = []
        self._file: IO[bytes] | None = None
        self._in_file: list[tuple[np.dtype[np.unsignedinteger], int]] = []  # type and bytes of each
        self._size, self._failed = 0, False  # bytes in memory; whether the file failed
        self.length = 0  # of all arrays together

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()  # which deletes it

    def add(self, array: NDArray[np.unsignedinteger]) -> None:
        self._arrays.append(array)
        self._size += array.nbytes
        self.length += len(array)
        if self._size > LARGE and not self._failed:
            try:
                self._write()
            except OSError:
                self._failed = True

    def _write(self) -> None:
        if self._file is None:
            folder = id_cache.cache_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - __exit__ closes it
                buffering=0, suffix=".tmp", prefix=".", dir=folder
            )
        while self._arrays:
            array = self._arrays[0]
            id_cache.write_all(self._file.fileno(), array.tobytes())
            self._in_file.append((array.dtype, array.nbytes))
            del self._arrays[0]
            self._size -= array.nbytes

    def __iter__(self) -> Iterator[NDArray[np.unsignedinteger]]:
        import numpy as np

        if self._file is not None:
            self._file.seek(0)
            for dtype, size in self._in_file:
                yield np.frombuffer(self._file.read(size), dtype)
        yield from self._arrays
