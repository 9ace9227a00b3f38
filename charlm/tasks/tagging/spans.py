"""Spans of tagged words, and their precision, recall and F1 as ``conlleval.pl`` counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """Neighbouring words of a sentence that share a slot."""

    kind: str
    start: int  # index of the first word, from 0
    end: int  # index after the last word


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence, from left to right.

    The rules are those of ``conlleval.pl`` (E. Tjong Kim Sang, the CoNLL shared tasks since 2000).
    A span starts at a ``B-``. It also starts at an ``I-`` that is the first word, follows an
    ``O``, or follows another kind. It continues over every ``I-`` of the same kind.

    Raises:
        ValueError: a tag is not ``O``, ``B-kind`` or ``I-kind``.
    """
    found: list[Span] = []
    kind = None  # of the open span; None outside of spans
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
    """Counts of gold spans, of predicted spans, and of correct predictions."""

    correct: int = 0  # predicted spans whose start, end and kind are those of a gold span
    found: int = 0  # predicted spans
    gold: int = 0  # spans in the data

    @property
    def precision(self) -> float:
        """The percentage of predicted spans that are correct; 0 if no span was predicted."""
        return 100 * self.correct / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """The percentage of gold spans that were found; 0 if there is no gold span."""
        return 100 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, in percent; 0 if both are 0."""
        both = self.found + self.gold
        return 200 * self.correct / both if both else 0.0


class SpanScores(NamedTuple):
    """The counts over all spans, and over the spans of each kind."""

    overall: SpanCounts
    kinds: dict[str, SpanCounts]  # sorted by kind; only kinds with a gold or a predicted span


def score_spans(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> SpanScores:
    """The counts of gold, predicted and correct spans, from the tags of each sentence.

    Raises:
        ValueError: the numbers of sentences or of tags differ, or a tag has another form.
    """
    correct, found, total = Counter[str](), Counter[str](), Counter[str]()
    for expected, got in zip(gold, predicted, strict=True):
        if len(expected) != len(got):
            raise ValueError(f"{len(got)} tags for {len(expected)} words")
        expected_spans, got_spans = spans(expected), spans(got)
        total.update(span.kind for span in expected_spans)
        found.update(span.kind for span in got_spans)
        correct.update(span.kind for span in set(expected_spans) & set(got_spans))
    kinds = {
        kind: SpanCounts(correct[kind], found[kind], total[kind])
        for kind in sorted(total.keys() | found.keys())
    }
    return SpanScores(SpanCounts(correct.total(), found.total(), total.total()), kinds)
