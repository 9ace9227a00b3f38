"""Spans of tagged words, and their precision, recall and F1 as ``conlleval.pl`` counts them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from charlm.tasks.counts import Counts

OUTSIDE = "O"  # the tag of a word outside all spans

_IOB = re.compile("O|[BI]-.+")


class Span(NamedTuple):
    """Neighbouring words of a sentence that share a slot."""

    kind: str
    start: int  # index of the first word, from 0
    end: int  # index after the last word


def is_iob(tag: str) -> bool:
    """Whether a tag is O, B-kind or I-kind."""
    return _IOB.fullmatch(tag) is not None


def to_iob(tags: Sequence[str]) -> list[str]:
    """The tags of a sentence in IOB, with a ``B-`` at the start of each span.

    They are ``O``, or a mark and a kind: ``B-`` (begins), ``I-`` or ``M-`` (inside), ``E-`` or
    ``L-`` (last), ``S-``, ``U-`` or ``W-`` (a span of one word). This covers the schemes IOB1,
    IOB2, IOE, BIOES, BILOU and BMES. Any sequence of tags is read as seqeval reads it, which
    extends ``conlleval.pl`` to these marks: a span starts at ``B`` and ``S``, after ``O``, ``E``
    and ``S``, and where the kind changes.
    """
    found: list[str] = []
    before = "O"
    for tag in tags:
        starts = tag[0] in "BSUW" or before[0] in "OELSUW" or tag[2:] != before[2:]
        found.append("O" if tag == "O" else f"{'B' if starts else 'I'}-{tag[2:]}")
        before = tag
    return found


def spans(tags: Sequence[str], *, of_words: bool = False) -> list[Span]:
    """The spans of a sentence, from left to right.

    If the tags are of words, each word is a span of its tag, except for the tag ``O``.

    Otherwise the rules are those of ``conlleval.pl`` (E. Tjong Kim Sang, the CoNLL shared tasks
    since 2000). A span starts at a ``B-``. It also starts at an ``I-`` that is the first word,
    follows an ``O``, or follows another kind. It continues over every ``I-`` of the same kind.

    Raises:
        ValueError: a tag is not ``O``, ``B-kind`` or ``I-kind``.
    """
    if of_words:
        return [Span(tag, i, i + 1) for i, tag in enumerate(tags) if tag != OUTSIDE]
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


def score_spans(
    gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]], *, of_words: bool = False
) -> SpanScores:
    """The counts of gold, predicted and correct spans, from the tags of each sentence.

    If the tags are of words and none is ``O``, precision, recall and F1 are the accuracy.

    Raises:
        ValueError: the numbers of sentences or of tags differ, or a tag has another form.
    """
    correct, found, total = Counter[str](), Counter[str](), Counter[str]()
    for expected, got in zip(gold, predicted, strict=True):
        if len(expected) != len(got):
            raise ValueError(f"{len(got)} tags for {len(expected)} words")
        expected_spans, got_spans = (spans(tags, of_words=of_words) for tags in (expected, got))
        total.update(span.kind for span in expected_spans)
        found.update(span.kind for span in got_spans)
        correct.update(span.kind for span in set(expected_spans) & set(got_spans))
    kinds = {
        kind: Counts(correct[kind], found[kind], total[kind])
        for kind in sorted(total.keys() | found.keys())
    }
    return SpanScores(Counts(correct.total(), found.total(), total.total()), kinds)
