"""Spans of tagged words, and their precision, recall and F1 as ``conlleval.pl`` counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from charlm.tasks.counts import Counts


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


class SpanScores(NamedTuple):
    """The counts over all spans, and over the spans of each kind."""

    overall: Counts
    kinds: dict[str, Counts]  # sorted by kind; only kinds with a gold or a predicted span


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
        kind: Counts(correct[kind], found[kind], total[kind])
        for kind in sorted(total.keys() | found.keys())
    }
    return SpanScores(Counts(correct.total(), found.total(), total.total()), kinds)
