"""How good generated texts are: made-up words, repetition, and passages copied from the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.tasks.language_model.repeats import Hashes, covered, window_hashes

COPIED = 32  # characters: a shorter run from the corpus is not counted as copied
_WORD = re.compile(r"\w+(?:['’]\w+)*")
# Japanese kana and Chinese characters, which stand side by side without spaces.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_TRIGRAM = 3


def has_words(text: str) -> bool:
    """Whether spaces separate the words of a text; they do not in Chinese and Japanese."""
    letters = sum(map(str.isalpha, text))
    return 2 * len(_UNSPACED.findall(text)) <= letters


def units(text: str, *, words: bool) -> list[str]:
    """The words of a text in lower case, or its characters that are not spaces."""
    return _WORD.findall(text.lower()) if words else [each for each in text if not each.isspace()]


def made_up_share(texts: Iterable[str], corpus: str) -> float:
    """The share of the words in the texts that are not in the corpus; 0 without words.

    A text without spaces between words (`has_words` of the corpus) is measured by its trigrams of
    characters instead: the share that is not in the corpus.
    """
    words = has_words(corpus)

    def parts(text: str) -> list[tuple[str, ...]]:
        return ngrams(units(text, words=words), 1 if words else _TRIGRAM)

    known = set(parts(corpus))
    found = [part for text in texts for part in parts(text)]
    return sum(part not in known for part in found) / max(len(found), 1)


def distinct_share(texts: Iterable[str], n: int = 4, *, words: bool) -> float:
    """The number of distinct n-grams divided by the number of n-grams; 1 without any.

    This is distinct-n of Li et al. (2016), "A diversity-promoting objective function for neural
    conversation models", over words, or over characters if ``words`` is false.
    """
    found = [gram for text in texts for gram in ngrams(units(text, words=words), n)]
    return len(set(found)) / len(found) if found else 1.0


def copied_share(texts: Iterable[str], corpus: str, shortest: int = COPIED) -> float:
    """The share of the characters that lie in a run of at least ``shortest`` copied characters.

    ``shortest`` is a power of 2.
    """
    corpus_hashes = _all_hashes(corpus, shortest)
    masks = [_copied(text, corpus_hashes, shortest) for text in texts]
    return sum(int(mask.sum()) for mask in masks) / max(sum(map(len, masks)), 1)


def ngrams(parts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All n consecutive parts, in order."""
    return list(zip(*(parts[start:] for start in range(n)), strict=False))


def _copied(text: str, corpus_hashes: Hashes, size: int) -> NDArray[np.bool_]:
    """(N,): whether a character lies in a window of ``size`` characters of the corpus."""
    if len(text) < size:
        return np.zeros(len(text), bool)
    return covered(np.isin(_all_hashes(text, size), corpus_hashes), size)


def _all_hashes(text: str, size: int) -> Hashes:
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return np.concatenate([np.empty(0, np.uint64), *window_hashes(points, size)])
