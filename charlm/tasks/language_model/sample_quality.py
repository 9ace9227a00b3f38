"""How good generated texts are: made-up words, repetition, and passages copied from the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

COPIED = 32  # characters: a shorter run that stands in the corpus is not counted as copied
_WORD = re.compile(r"\w+(?:['’]\w+)*")
# Japanese kana and Chinese characters, which stand side by side without spaces.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_TRIGRAM = 3
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, as a hash modulo 2**64 needs


def has_words(text: str) -> bool:
    """Whether spaces separate the words of a text; they do not in Chinese and Japanese."""
    letters = sum(map(str.isalpha, text))
    return 2 * len(_UNSPACED.findall(text)) <= letters


def units(text: str, *, words: bool) -> list[str]:
    """The words of a text in lower case, or its characters that are not spaces."""
    return _WORD.findall(text.lower()) if words else [each for each in text if not each.isspace()]


def made_up_share(texts: Iterable[str], corpus: str) -> float:
    """The share of the words in the texts that stand nowhere in the corpus; 0 without words.

    A text without spaces between words (`has_words` of the corpus) is measured by its trigrams of
    characters instead: the share that stands nowhere in the corpus.
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
    """The share of the characters that lie in a run of at least ``shortest`` copied characters."""
    corpus_hashes = window_hashes(corpus, shortest)
    masks = [_copied(text, corpus_hashes, shortest) for text in texts]
    return sum(int(mask.sum()) for mask in masks) / max(sum(map(len, masks)), 1)


def copied_spans(text: str, corpus: str, shortest: int = COPIED) -> list[tuple[int, int]]:
    """The runs of ``text`` that stand in ``corpus``: (start, end), ``shortest`` or more characters.

    Runs that overlap or touch are one span.
    """
    mask = _copied(text, window_hashes(corpus, shortest), shortest)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask, [0])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def ngrams(parts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All n consecutive parts, in order."""
    return list(zip(*(parts[start:] for start in range(n)), strict=False))


def window_hashes(text: str, size: int) -> NDArray[np.uint64]:
    """(N - size + 1,) hashes of all windows of ``size`` characters, in time N log(size).

    Two windows with the same hash are taken to be the same; by chance that happens once in 10^19.
    """
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    block, length = code_points.astype(np.uint64), 1  # hashes of all windows of 1, 2, 4, ...
    whole, done = np.zeros(len(block) + 1, np.uint64), 0  # hashes of all windows of `done`
    while True:
        factor = np.uint64(pow(_MULTIPLIER, length, 2**64))
        if size & length:
            count = max(len(block) - done, 0)
            whole = whole[:count] * factor + block[done : done + count]
            done += length
        if done == size:
            return whole
        block = block[:-length] * factor + block[length:]
        length *= 2


def _copied(text: str, corpus_hashes: NDArray[np.uint64], size: int) -> NDArray[np.bool_]:
    """(N,): whether a character lies in a window of ``size`` characters of the corpus."""
    starts = np.isin(window_hashes(text, size), corpus_hashes)
    change = np.zeros(len(text) + 1, dtype=np.int64)  # of the number of windows that cover a place
    np.add.at(change, np.flatnonzero(starts), 1)
    np.add.at(change, np.flatnonzero(starts) + size, -1)
    return np.asarray(change.cumsum()[:-1] > 0)
