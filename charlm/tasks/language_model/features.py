"""What a text is like at each character: features that single units of a model may track.

Each follows from the characters up to and including the one it stands at, so a model that has read
them can know it.

Letters in the shape comments: T characters of the text.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import shown

AFTER = 16  # characters of which "after this character" is a feature
RANGES = 6  # of the place in a line
LONGEST = 8  # letters of a word that are counted
DEEPEST = 3  # brackets that are counted
LEAST = 30  # places of each half of a text that a class must have; rarer features are left out
SPOKEN = 0.25  # share of the ' before words that begin a paragraph, in a text where ' is a quote

_CLOSES = {
    **{'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c"},
    **{"\u00ab": "\u00bb", "\u300c": "\u300d", "\u300e": "\u300f"},
}
_SINGLE = "'\u2018"  # whose closing form is also the apostrophe
_OPENING, _CLOSING = "([{\uff08\u3010\u300a\u3008", ")]}\uff09\u3011\u300b\u3009"

Classes = NDArray[np.int64]


class Feature(NamedTuple):
    """One thing to know about the text so far, in classes."""

    name: str
    classes: Classes  # (T,) of each character, from 0
    labels: tuple[str, ...]  # of the classes
    instant: bool = False  # whether the last character alone says it, so that nothing is remembered

    def words(self, number: int) -> str:
        """The name of a class with that of the feature, for people."""
        return self.name if self.labels[number] == "yes" else f"{self.name}: {self.labels[number]}"


def features(text: str) -> list[Feature]:
    """The features that a text has: those with two classes that are not rare in either half.

    Inside quotes and brackets, and how deep; the place in the line, and the line of the paragraph;
    first letters, words with capitals, and the letters of the word so far; digits and capitals; and
    "after" each of the most frequent characters.
    """
    every = [
        _either("inside quotes", _in_quotes(text)),
        *_brackets(text),
        *_lines(text),
        *_words(text),
        _either("digit", [each.isdigit() for each in text], instant=True),
        _either("capital letter", [each.isupper() for each in text], instant=True),
    ]
    points = np.array([ord(each) for each in text])
    common = [each for each, _ in Counter(text).most_common(AFTER)]
    every += [_either(f"after {shown(each)}", points == ord(each), instant=True) for each in common]
    return [each for each in every if _is_common(each)]


def _is_common(feature: Feature) -> bool:
    half = len(feature.classes) // 2
    return all(
        np.sum(np.bincount(part, minlength=2) >= LEAST) > 1
        for part in (feature.classes[:half], feature.classes[half:])
    )


def _either(name: str, places: object, *, instant: bool = False) -> Feature:
    return Feature(name, np.asarray(places, np.int64), ("no", "yes"), instant)


def _counted(name: str, counts: list[int], most: int) -> Feature:
    labels = (*map(str, range(most)), f"{most} and more")
    return Feature(name, np.minimum(counts, most), labels)


def _in_quotes(text: str) -> list[bool]:
    """Whether each character is inside quotes; with ' only in a text where they are quotes.

    A ' opens a quotation where no letter is before it, and closes one after a sign: elsewhere it is
    an apostrophe. An empty line ends a quotation, because a novel opens it anew in each paragraph.
    """
    singles = [match.start() for match in re.finditer(r"(?<!\w)['\u2018](?=\w)", text)]
    spoken = sum(text[max(0, place - 2) : place] == "\n\n" for place in singles)
    single = spoken >= SPOKEN * len(singles)
    inside, quote, before = [], "", "\n"
    for each in text:
        if quote:
            apostrophe = quote in _SINGLE and (before.isalnum() or before.isspace())
            ends = each == _CLOSES[quote] and not apostrophe
            if ends or each == before == "\n":
                quote = ""
        elif each in _CLOSES and (each not in _SINGLE or (single and not before.isalnum())):
            quote = each
        inside.append(bool(quote))
        before = each
    return inside


def _brackets(text: str) -> list[Feature]:
    depths, depth = [], 0
    for each in text:
        depth = depth + 1 if each in _OPENING else max(0, depth - (each in _CLOSING))
        depths.append(depth)
    deeper = _counted("bracket depth", depths, DEEPEST)
    inside = _either("inside brackets", np.minimum(depths, 1))
    return [inside, deeper] if max(depths, default=0) > 1 else [inside]


def _lines(text: str) -> Iterator[Feature]:
    """The place in the line in ranges of about as many characters each; the line end has 0."""
    if "\n" not in text:
        return
    places, lines, place, line = [], [], 0, 0
    for each in text:
        if each == "\n":
            line = line + 1 if place else 0
        place = 0 if each == "\n" else place + 1
        places.append(place)
        lines.append(line)
    shares = np.linspace(0, 1, RANGES + 1)[:-1]
    starts = np.unique(np.quantile(places, shares, method="lower").astype(np.int64))
    pairs = itertools.pairwise(starts.tolist())
    labels = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in pairs]
    labels.append(f"{starts[-1]} and more")
    classes = np.searchsorted(starts, places, side="right") - 1
    yield Feature("place in the line", classes, tuple(labels))
    yield _counted("line of the paragraph", lines, DEEPEST)


def _words(text: str) -> Iterator[Feature]:
    lengths, capitalised, capitals = [], [], []
    length = number = 0  # letters and capitals of the word so far
    first = False
    for each in text:
        if each.isalpha():
            first = each.isupper() if length == 0 else first
            length, number = length + 1, number + each.isupper()
        else:
            length, number, first = 0, 0, False
        lengths.append(length)
        capitalised.append(first)
        capitals.append(number > 1 and number == length)
    yield _either("first letter of a word", np.asarray(lengths) == 1)
    yield _counted("letters of the word so far", lengths, LONGEST)
    yield _either("word with a capital first", capitalised)
    yield _either("word in capitals", capitals)
