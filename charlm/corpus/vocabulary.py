"""The characters that a model knows, and their ids."""

from __future__ import annotations

import math
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from charlm.corpus.id_cache import in_blocks
from charlm.errors import CorpusError, counted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

UNKNOWN = 0  # the id of <unk>: a character that the vocabulary lacks

BLOCK = 2**20  # characters encoded at once, to keep intermediate arrays small
_FIRST = 2**12  # characters
_MANY = 100  # new characters in a block, for which a sort is faster than a search for each
_SCALAR_VALUES = 0x110000 - 0x800  # of Unicode: all code points but the surrogates


def checked_entries(data: object, what: str, *, longest: int, most: int) -> tuple[str, ...]:
    """The entries of a vocabulary's JSON; a CorpusError if they are not distinct and ``what``."""
    if (
        not isinstance(data, list)
        or len(data) > most
        or not all(isinstance(entry, str) and 0 < len(entry) <= longest for entry in data)
        or len(set(data)) != len(data)
    ):
        raise CorpusError(
            f"the vocabulary is not a list of {what}",
            "restore the file from a backup, or train again",
        )
    return tuple(data)


def _code_points(text: str) -> NDArray[np.uint32]:
    """The code points of ``text``, (N,), lone surrogates included."""
    import numpy as np  # here, so that importing charlm.corpus stays quick

    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def narrow_code_points(text: str) -> NDArray[np.unsignedinteger]:
    """The code points of ``text``, (N,), as uint8, uint16 or uint32: the narrowest that fits."""
    import numpy as np

    with suppress(UnicodeEncodeError):
        return np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    raw = text.encode("utf-16-le", "surrogatepass")
    if len(raw) == 2 * len(text):
        return np.frombuffer(raw, dtype="<u2")
    return _code_points(text)


def id_type(size: int) -> str:
    """The name of the smallest integer type for ids below ``size``; torch computes with each."""
    return "uint8" if size <= 2**8 else "int16" if size <= 2**15 else "int32"


class Counts:
    """How often each number occurs in arrays of small numbers, and in which order they appear."""

    def __init__(self, size: int = sys.maxunicode + 1) -> None:
        import numpy as np

        self._counts = np.zeros(size, dtype=np.int64)
        self._order: list[int] = []

    def add(self, numbers: NDArray[np.integer]) -> None:
        """Count the next (N,) numbers, 0 <= number < ``size``."""
        # The beginning of a text alone, because most characters appear there.
        parts = [numbers] if self._order else [numbers[:_FIRST], numbers[_FIRST:]]
        for part in parts:
            for start in range(0, len(part), BLOCK):
                self._add(part[start : start + BLOCK])

    def _add(self, block: NDArray[np.integer]) -> None:
        import numpy as np

        found = np.bincount(block)
        counts = self._counts[: len(found)]
        new = np.flatnonzero((counts == 0) & (found > 0))
        if len(new) > _MANY:
            numbers, places = np.unique(block, return_index=True)
            firsts = places[np.isin(numbers, new)]
        else:
            firsts = np.array([int((block == number).argmax()) for number in new.tolist()], int)
        self._order += new[np.argsort(firsts)].tolist()
        counts += found

    def most_common(self, least: int = 1) -> list[int]:
        """The numbers that occur ``least`` times, most frequent first, ties by first appearance."""
        counts = self._counts[self._order].tolist()
        order = sorted(range(len(counts)), key=counts.__getitem__, reverse=True)  # stable
        return [self._order[index] for index in order if counts[index] >= least]


@dataclass(frozen=True)
class Vocabulary:
    """A fixed set of characters; id 0 is ``<unk>``, ``characters[i]`` has id ``i + 1``.

    >>> vocabulary = charlm.Vocabulary.from_text("hello")
    >>> vocabulary.encode("hole").tolist()
    [2, 4, 1, 3]
    >>> vocabulary.decode([2, 3, 1, 1, 4])
    'hello'
    """

    characters: tuple[str, ...]
    """Distinct single characters, without ``<unk>``."""

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The characters of ``text``, most frequent first, ties by first appearance.

        These are the ids of ``d2l.Vocab`` in d2l 0.17 (Dive into Deep Learning, section 8.2).
        """
        return cls(tuple(character for character, _ in Counter(text).most_common()))

    def __repr__(self) -> str:
        count = counted(len(self.characters), "character")
        return f"<Vocabulary of {count}: {shown(''.join(self.characters[:99]))}>"

    def __len__(self) -> int:
        """The number of ids: the characters and ``<unk>``."""
        return len(self.characters) + 1

    @cached_property
    def code_points(self) -> NDArray[np.uint32]:
        """Code point by id, (V,)."""
        return _code_points("\N{REPLACEMENT CHARACTER}" + "".join(self.characters))

    @cached_property
    def _id_of(self) -> NDArray[np.int64]:
        """Id by code point; the last entry is 0, for all higher code points."""
        import numpy as np

        table = np.zeros(int(self.code_points[1:].max(initial=0)) + 2, dtype=np.int64)
        table[self.code_points[1:]] = np.arange(1, len(self))
        return table

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of the characters of ``text``, (N,); 0 for an unknown character."""
        import numpy as np

        ids = np.empty(len(text), dtype=np.int64)
        for start in range(0, len(text), BLOCK):
            block = slice(start, start + BLOCK)
            ids[block] = self._id_of.take(_code_points(text[block]), mode="clip")
        return ids

    @cached_property
    def narrow_ids(self) -> NDArray[np.integer]:
        """As ``_id_of``, in the smallest type."""
        table: NDArray[np.integer] = self._id_of.astype(id_type(len(self)))
        return table

    def ids_from(self, other: Vocabulary) -> NDArray[np.integer]:
        """The id of each id of another vocabulary, in the smallest type; 0 if it is unknown."""
        table: NDArray[np.integer] = self.narrow_ids.take(other.code_points, mode="clip")
        table[UNKNOWN] = UNKNOWN
        return table

    def of_ids(self, ids: NDArray[np.integer], least: int = 1) -> Vocabulary:
        """The vocabulary of the text of ``ids``, (N,) without 0, as `from_text` makes it.

        Characters that occur less than ``least`` times are left out.
        """
        counts = Counts(len(self))
        for block in in_blocks(ids, BLOCK):
            counts.add(block)
        return Vocabulary(tuple(self.characters[id - 1] for id in counts.most_common(least)))

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """The text of ``ids``, (N,); id 0 becomes U+FFFD. An id out of range is a ValueError."""
        return "".join(self.decode_pieces(ids))

    def decode_pieces(self, ids: Sequence[int] | NDArray[np.integer]) -> Iterator[str]:
        """The same text in pieces."""
        import numpy as np

        ids = np.asarray(ids)
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK].astype(np.int64)
            if not 0 <= block.min() <= block.max() < len(self):
                raise ValueError(f"ids must lie in 0 to {len(self) - 1}")
            raw: bytes = self.code_points[block].tobytes()
            yield raw.decode("utf-32-le", "surrogatepass")

    def unknown_characters(self, text: str) -> tuple[str, ...]:
        """The distinct characters of ``text`` outside the vocabulary, in order of appearance."""
        known = set(self.characters)
        return tuple(character for character in dict.fromkeys(text) if character not in known)

    @property
    def spelling_nats(self) -> float:
        """Nats for naming an unknown character, if all outside the vocabulary are equally likely.

        ``log(1,112,064 - V)`` for V characters: Unicode has 1,112,064 (its scalar values).
        """
        known = sum(not "\ud800" <= character <= "\udfff" for character in self.characters)
        return math.log(max(1, _SCALAR_VALUES - known))

    def to_json(self) -> list[str]:
        """The characters as a list, for JSON."""
        return list(self.characters)

    @classmethod
    def from_json(cls, data: object) -> Vocabulary:
        """The vocabulary that ``to_json`` wrote; a CorpusError if ``data`` is anything else."""
        what = "distinct single characters"
        return cls(checked_entries(data, what, longest=1, most=sys.maxunicode + 1))
