"""The predicted characters of a text in groups.

``docs/by-kind.md`` describes the groups.

Letters in the shape comments: N characters of a text, J of them in the parts that are predicted and
around them, K predicted, V vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.corpus import Vocabulary
from charlm.tasks.language_model.corpus import Characters

COUNTED = 100_000_000  # characters of a training text whose words are counted: some seconds
AFTER = 12  # characters of which the bits of the next character are shown
BLOCK = 2**20  # characters that are looked at together
MARGIN = 64  # characters beyond a block; a longer word is cut

Parts = Sequence[tuple[int, int]]  # begin and end of each predicted part of a text

# Kinds of characters. A letter of a word is counted from its first letter.
_LETTER, _LATER, _CAPITAL = 0, 4, 5
_WORD = (
    *("1st letters of words", "2nd letters", "3rd letters", "4th letters", "5th and later letters"),
    *("capitals, 1st letter", "capitals, later"),
)
# Scripts that are written without spaces, by the first word of the Unicode name.
_UNSPACED = {
    "CJK": "Han characters",
    "IDEOGRAPHIC": "Han characters",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "KATAKANA-HIRAGANA": "kana",
    "THAI": "Thai letters",
    "LAO": "Lao letters",
    "KHMER": "Khmer letters",
    "MYANMAR": "Burmese letters",
    "TIBETAN": "Tibetan letters",
}
_REST = ("Latin letters", "other letters", "spaces", "punctuation, symbols", "digits", "line ends")
KINDS = (*_WORD, *dict.fromkeys(_UNSPACED.values()), *_REST, "other")
_LINE_ENDS = "\n\r\v\f\x85\u2028\u2029"
_APOSTROPHES = "'\u2019"  # between two letters they belong to the word
_JOINERS = "\u200c\u200d"  # stand within words of Persian and Indic scripts
_BY_CATEGORY = {"N": "digits", "P": "punctuation, symbols", "S": "punctuation, symbols"}

# How often a word, or a character, stands in the training text.
_FROM = (1, 2, 6, 21, 101, 1001)
FREQUENCIES = (
    *("never", "once", "2 to 5 times", "6 to 20 times", "21 to 100 times", "101 to 1,000 times"),
    *("over 1,000 times", "not in a word"),
)


class Grouping(NamedTuple):
    """K characters in groups; each character is in one of them."""

    name: str  # kind, word_frequency, character_frequency or after
    title: str  # in tables
    labels: Sequence[str]  # the names of the groups
    groups: NDArray[np.uint8]  # (K,) the index of each character's group


def groupings(text: Characters, parts: Parts, train: Characters | None) -> list[Grouping]:
    """The characters of some parts of a text: by kind, by frequency, by the character before.

    In a text that is written with spaces, letters are counted from the start of their word, and the
    frequency is that of the word. If most letters are of scripts without spaces, such as Chinese,
    their kind is their script, and the frequency is that of the character.

    Args:
        text: the characters of a text.
        parts: where the parts begin (not before 1) and end, in the order of the text.
        train: the training text; None: it is missing, and so is the frequency.
    """
    text, predicted = _with_margins(text, parts)
    classes = _Classes(text.vocabulary)
    counts = _counts(text)
    spaced = classes.spaced(counts)
    found = [_by_kind(classes, text, spaced), _after(text, counts)]
    if train is not None:
        train = Characters(train.vocabulary, train.ids[-COUNTED:])
        often = (
            _word_frequency(classes, text, train) if spaced else _character_frequency(text, train)
        )
        found.insert(1, often)
    return [each._replace(groups=each.groups[predicted]) for each in found]


def _with_margins(text: Characters, parts: Parts) -> tuple[Characters, NDArray[np.bool_]]:
    """The (J,) characters of some parts and around them, and which of them are in the parts."""
    windows: list[tuple[int, int]] = []
    places: list[slice] = []  # of the parts, in the result
    size = 0  # J so far
    for begin, end in parts:
        first, last = max(0, begin - MARGIN), min(end + MARGIN, len(text))
        if windows and first <= windows[-1][1]:
            first, before = windows.pop()
            size -= before - first
        windows.append((first, last))
        size += last - first
        places.append(slice(size - (last - begin), size - (last - end)))
    predicted = np.zeros(size, np.bool_)
    for place in places:
        predicted[place] = True
    ids = np.concatenate([text.ids[first:last] for first, last in windows])
    return Characters(text.vocabulary, ids), predicted


class _Classes:
    """The kinds of the characters of a vocabulary, by id."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        names = ["other", *map(_kind, vocabulary.characters)]  # the first is <unk>
        self.in_words = np.array([KINDS.index(name) for name in names], np.uint8)  # (V,)
        scripts = ["other", *map(_script, vocabulary.characters)]
        self.letters = np.isin(self.in_words, (_LETTER, _CAPITAL))  # (V,) of words
        self.by_script = np.where(
            self.letters, [KINDS.index(name) for name in scripts], self.in_words
        ).astype(np.uint8)
        self.apostrophes = np.array([False, *(c in _APOSTROPHES for c in vocabulary.characters)])

    def spaced(self, counts: NDArray[np.int64]) -> bool:
        """Whether a text with these (V,) counts is mostly written with spaces between words."""
        unspaced = np.isin(self.in_words, [KINDS.index(name) for name in _UNSPACED.values()])
        return bool(counts[self.letters].sum() >= counts[unspaced].sum())

    def words(self, ids: NDArray[np.integer]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of (N,) characters lie in a word, and which begin one."""
        inside = self.letters[ids]
        joined = self.apostrophes[ids[1:-1]] & inside[:-2] & inside[2:]
        inside[1:-1] |= joined
        begins = inside.copy()
        begins[1:] &= ~inside[:-1]
        return inside, begins


def _kind(character: str) -> str:
    """The kind of a character, of a letter with the place of the first one of a word."""
    category = unicodedata.category(character)
    if category[0] in "LM" or character in _JOINERS:
        unspaced = _UNSPACED.get(_script_name(character))
        return unspaced or _WORD[_CAPITAL if category in ("Lu", "Lt") else _LETTER]
    if character in _LINE_ENDS:
        return "line ends"
    return "spaces" if character.isspace() else _BY_CATEGORY.get(category[0], "other")


def _script(character: str) -> str:
    return "Latin letters" if _script_name(character) == "LATIN" else "other letters"


def _script_name(character: str) -> str:
    """The first word of a character's Unicode name, which is mostly its script."""
    first, _, rest = unicodedata.name(character, "").partition(" ")
    return rest.partition(" ")[0] if first in ("FULLWIDTH", "HALFWIDTH") else first


def _blocks(text: Characters) -> Iterator[tuple[int, int]]:
    """Where the blocks of a text begin and end."""
    for begin in range(0, len(text), BLOCK):
        yield begin, min(begin + BLOCK, len(text))


def _counts(text: Characters) -> NDArray[np.int64]:
    """How often each character of the vocabulary stands in a text, (V,)."""
    counts = np.zeros(len(text.vocabulary), np.int64)
    for begin, end in _blocks(text):
        counts += np.bincount(text.ids[begin:end], minlength=len(counts))
    return counts


def _by_kind(classes: _Classes, text: Characters, spaced: bool) -> Grouping:
    of = classes.in_words if spaced else classes.by_script
    kinds = of[text.ids]  # (J,)
    for begin, end in _blocks(text) if spaced else ():
        first = max(0, begin - MARGIN)
        _, begins = classes.words(text.ids[first : end + 1])  # the last may be an apostrophe
        places = np.arange(end - first)
        starts = np.maximum.accumulate(np.where(begins[: end - first], places, 0))
        place = (places - starts)[begin - first :]
        block = kinds[begin:end]
        small = block == _LETTER
        block[small] = np.minimum(place[small], _LATER)
        block += (block == _CAPITAL) & (place > 0)
    return Grouping("kind", "kind of character", KINDS, kinds)


def _word_frequency(classes: _Classes, text: Characters, train: Characters) -> Grouping:
    blocks = [_words(classes, text, *block) for block in _blocks(text)]
    counts = _word_counts(train, {word for block in blocks for word in block.words})
    outside = len(FREQUENCIES) - 1
    groups = [
        np.append(_frequencies([counts[word] for word in block.words]), np.uint8(outside))[block.of]
        for block in blocks
    ]
    return Grouping("word_frequency", "word in training text", FREQUENCIES, np.concatenate(groups))


class _Words(NamedTuple):
    """The words in a part of a text. Those that its ends cut are whole."""

    words: list[str]  # in order; also some before and after the part
    begins: NDArray[np.int64]  # where each one begins, from the part's begin
    of: NDArray[np.int64]  # the index of each character's word in ``words``; -1: in none


def _words(classes: _Classes, text: Characters, begin: int, end: int) -> _Words:
    first = max(0, begin - MARGIN)
    ids = text.ids[first : end + MARGIN]
    inside, begins = classes.words(ids)
    # The id 0 is decoded as U+FFFD, which is in no word.
    words = text.vocabulary.decode(np.where(inside, ids, 0)).split("\ufffd")
    of = np.where(inside, begins.cumsum() - 1, -1)[begin - first : end - first]
    return _Words([*filter(None, words)], np.flatnonzero(begins) + first - begin, of)


def _word_counts(text: Characters, wanted: set[str]) -> Counter[str]:
    """How often some words stand in a text."""
    classes = _Classes(text.vocabulary)
    counts: Counter[str] = Counter()
    for begin, end in _blocks(text):
        found = _words(classes, text, begin, end)
        here = slice(*np.searchsorted(found.begins, (0, end - begin)))
        counts.update(filter(wanted.__contains__, found.words[here]))
    return counts


def _character_frequency(text: Characters, train: Characters) -> Grouping:
    counts = dict(zip(train.vocabulary.characters, _counts(train)[1:].tolist(), strict=True))
    of = _frequencies([0, *(counts.get(each, 0) for each in text.vocabulary.characters)])  # (V,)
    return Grouping("character_frequency", "character in training", FREQUENCIES, of[text.ids])


def _frequencies(counts: Sequence[int]) -> NDArray[np.uint8]:
    """The indices in ``FREQUENCIES`` of some counts."""
    return np.searchsorted(_FROM, np.array(counts, np.int64), side="right").astype(np.uint8)


def _after(text: Characters, counts: NDArray[np.int64]) -> Grouping:
    """The characters by the one before: the most frequent ones, and all others."""
    most = [id for id in np.argsort(-counts, kind="stable")[:AFTER].tolist() if counts[id]]
    of = np.full(len(counts), len(most), np.uint8)  # (V,)
    of[most] = np.arange(len(most))
    labels = [shown_character(text.vocabulary.characters[id - 1]) for id in most]
    groups = of[np.insert(text.ids[:-1], 0, text.ids[0])]  # nothing is before the first
    return Grouping("after", "after", [*labels, "other characters"], groups)


def shown_character(character: str) -> str:
    """A character as a label."""
    known = {" ": "a space", "\n": "a line end", "\t": "a tab"}
    plain = character.isprintable() and not unicodedata.category(character).startswith("M")
    return known.get(character) or (character if plain else f"U+{ord(character):04X}")
