"""Words: splitting a text into words, word ids, and features of a word's spelling."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING

from charlm.corpus.vocabulary import checked_entries
from charlm.errors import UsageError, counted, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_WORDS = 2**22  # in a vocabulary
MAX_CHARACTERS = 1_000  # in a word of a vocabulary

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"


@cache
def _tokens(punctuation: bool) -> re.Pattern[str]:
    """The pattern of a word, or of a word or punctuation mark."""
    # Python does not count accents, vowel signs, joiners and soft hyphens as letters.
    inside = _of_categories("Mn", "Mc", "Me") + "\u00ad\u200c\u200d"
    letter = rf"[^\W_{_HAN}]"
    word = rf"{letter}+(?:(?:'(?={letter})|[{inside}]){letter}*)*|[{_HAN}]"
    if punctuation:
        word += rf"|_|[^\w\s{inside}{_of_categories('Cc', 'Cf')}]"
    return re.compile(word)


@cache
def _of_categories(*categories: str) -> str:
    """The characters of some Unicode categories, escaped for a regular expression."""
    # All other code points are ideographs, for private use, or not assigned.
    codes = (*range(0x1F000), *range(0xE0000, 0xE0200))
    return re.escape("".join(chr(c) for c in codes if unicodedata.category(chr(c)) in categories))


def split_words(text: str, *, punctuation: bool = False) -> list[str]:
    """The words of a text, lower-cased, in order.

    A word is a run of letters and digits of any script, with their accents, vowel signs and
    joiners, and with apostrophes between letters (``don't``; curly apostrophes become straight).
    Everything else separates words, also ``<br />`` of web pages. Each Han character (Chinese,
    and in Japanese) is a word. Kana, Thai and other scripts without spaces are not split further.

    Args:
        punctuation: make each punctuation mark or symbol a word.
    """
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    if "<br" in text:
        text = re.sub(r"<br\s*/?>", " ", text)
    return _tokens(punctuation).findall(text)


@dataclass(frozen=True)
class WordVocabulary:
    """A fixed set of words; id 0 is padding, 1 an unknown word, ``words[i]`` has id ``i + 2``."""

    words: tuple[str, ...]
    """Distinct words, none of them empty."""

    @classmethod
    def from_words(
        cls, texts: Iterable[Iterable[str]], *, size: int | None = None, min_count: int = 1
    ) -> WordVocabulary:
        """The vocabulary of the words of texts, most frequent first, ties by first appearance.

        Words of more than ``MAX_CHARACTERS`` are left out, and words beyond ``MAX_WORDS``.

        Args:
            size: the largest number of ids, with padding and unknown; None is no limit.
            min_count: the smallest number of times that a word must appear.

        Raises:
            UsageError: ``size`` is below 3, or ``min_count`` below 1.
        """
        if size is not None and size < 3:
            raise UsageError(f"the size of a vocabulary must be at least 3, not {size}")
        if min_count < 1:
            raise UsageError(f"min_count must be at least 1, not {min_count}")
        words = [
            word
            for word, times in Counter(chain.from_iterable(texts)).most_common()
            if times >= min_count and 0 < len(word) <= MAX_CHARACTERS
        ]
        return cls(tuple(words[: MAX_WORDS if size is None else min(MAX_WORDS, size - 2)]))

    def __repr__(self) -> str:
        return f"<WordVocabulary of {counted(len(self.words), 'word')}: {shown(self.words[:6])}>"

    def __len__(self) -> int:
        """The number of ids: the words, padding and unknown."""
        return len(self.words) + 2

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, 2)}

    def encode(self, words: Iterable[str]) -> NDArray[np.int64]:
        """The ids of ``words``, (N,); 1 for an unknown word."""
        import numpy as np  # here, so that importing charlm.corpus stays quick

        return np.array([self._id_of.get(word, 1) for word in words], dtype=np.int64)

    def decode(self, id: int) -> str:
        """The word of an id; ``<pad>`` for 0, ``<unk>`` for 1. One out of range is a ValueError."""
        if not 0 <= id < len(self):
            raise ValueError(f"an id must lie in 0 to {len(self) - 1}")
        return ("<pad>", "<unk>")[id] if id < 2 else self.words[id - 2]

    def to_json(self) -> list[str]:
        """The words as a list, for JSON."""
        return list(self.words)

    @classmethod
    def from_json(cls, data: object) -> WordVocabulary:
        """The vocabulary that ``to_json`` wrote; a CorpusError if ``data`` is anything else."""
        what = f"at most {MAX_WORDS:,} distinct words"
        return cls(checked_entries(data, what, longest=MAX_CHARACTERS, most=MAX_WORDS))


def normalise_word(word: str) -> str:
    """The word in lower case with each digit as 0, so that 9:30 and 8:15 are the same word."""
    return re.sub(r"\d", "0", word.lower())


def word_shape(word: str) -> str:
    """The shape of a word: ``Xxx`` for ``Boston``, ``XX-dd`` for ``DC-10``.

    Letters become ``X`` or ``x``, digits ``d``; other characters stay. Of a run of the same
    character, two are kept. Collins (2002), "Ranking Algorithms for Named-Entity Extraction",
    uses such features.
    """
    shape = "".join(
        "X" if char.isupper() else "x" if char.islower() else "d" if char.isdecimal() else char
        for char in word
    )
    return re.sub(r"(.)\1{2,}", r"\1\1", shape, flags=re.DOTALL)


def ngram_ids(word: str, sizes: Iterable[int], buckets: int) -> list[int]:
    """The hashed ids of the character n-grams of ``<word>``.

    They are in order of length n, then from left to right. From Bojanowski et al. (2017),
    "Enriching Word Vectors with Subword Information". The hash is CRC-32 of the UTF-8 bytes.

    Args:
        sizes: the lengths n in characters, all above 0.
        buckets: the number of ids; they are 0 to ``buckets - 1``.
    """
    marked = f"<{word}>"
    return [
        zlib.crc32(marked[start : start + n].encode("utf-8", "surrogatepass")) % buckets
        for n in sizes
        for start in range(len(marked) - n + 1)
    ]
