"""Spans of tagged words, and precision, recall and F1 of them, as ``conlleval.pl`` has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """Words of a sentence that belong together."""

    kind: str
    start: int
    """The first word, from 0."""
    end: int
    """The word after the last."""


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence, from left to right.

    By the rules of ``conlleval.pl`` (E. Tjong Kim Sang, the CoNLL shared tasks since 2000): a span
    starts at a ``B-``, and at an ``I-`` that follows an ``O``, another kind, or nothing; it goes
    on over every ``I-`` of its kind.

    Args:
        tags: ``O``, ``B-kind`` or ``I-kind`` for each word.

    Raises:
        ValueError: a tag is none of these.
    """
    found: list[Span] = []
    kind = None  # of the span that is open
    start = 0
    for index, tag in enumerate([*tags, "O"]):
        mark, hyphen, tagged = tag.partition("-")
        if tag != "O" and (mark not in ("B", "I") or not hyphen):
            raise ValueError(f"not a tag: {tag!r}")
        if mark == "I" and tagged == kind:
            continue
        if kind is not None:
            found.append(Span(kind, start, index))
        kind, start = (tagged, index) if hyphen else (None, index)
    return found


@dataclass(frozen=True)
class SpanCounts:
    """How many spans there were, how many a model found, and how many of those were right."""

    correct: int = 0
    """Found with the right start, end and kind."""
    found: int = 0
    gold: int = 0

    @property
    def precision(self) -> float:
        """Of the spans found, those that are right, in percent; 0 where none was found."""
        return 100 * self.correct / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Of the spans there were, those that were found, in percent; 0 where there were none."""
        return 100 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, in percent; 0 where both are."""
        both = self.found + self.gold
        return 200 * self.correct / both if both else 0.0


class SpanScores(NamedTuple):
    """The counts of all spans, and of each kind."""

    overall: SpanCounts
    kinds: dict[str, SpanCounts]
    """In order of their names; those that are in neither side are not there."""


def score_spans(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> SpanScores:
    """Compare the spans of sentences with those that a model found.

    Args:
        gold: the tags of each sentence.
        predicted: as many sentences of as many tags.

    Raises:
        ValueError: they are not as many, or a tag is none.
    """
    correct, found, there = Counter[str](), Counter[str](), Counter[str]()
    for expected, got in zip(gold, predicted, strict=True):
        if len(expected) != len(got):
            raise ValueError(f"{len(got)} tags for {len(expected)} words")
        expected_spans, got_spans = spans(expected), spans(got)
        there.update(span.kind for span in expected_spans)
        found.update(span.kind for span in got_spans)
        correct.update(span.kind for span in set(expected_spans) & set(got_spans))
    kinds = {
        kind: SpanCounts(correct[kind], found[kind], there[kind])
        for kind in sorted(there.keys() | found.keys())
    }
    return SpanScores(SpanCounts(correct.total(), found.total(), there.total()), kinds)
