"""Spans and their scores against cases counted by hand and against the algorithm of conlleval.

``conlleval.pl`` does not list spans. It walks over the words, checks at each one whether a gold or
predicted span ends or starts there, and counts. ``count_by_walking`` does the same.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.tasks.counts import Counts
from charlm.tasks.tagging.spans import Span, score_spans, spans, to_iob


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-a", [("a", 0, 1)]),
        ("O B-a I-a O", [("a", 1, 3)]),
        ("B-a I-a", [("a", 0, 2)]),  # the sentence ends the span
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),  # adjacent
        ("B-a I-a B-a I-a", [("a", 0, 2), ("a", 2, 4)]),
        ("I-a I-a", [("a", 0, 2)]),  # I- at the start of a sentence
        ("O I-a I-a O", [("a", 1, 3)]),  # I- after O
        ("B-a I-b I-b", [("a", 0, 1), ("b", 1, 3)]),  # I- of another kind
        ("I-a I-b I-a", [("a", 0, 1), ("b", 1, 2), ("a", 2, 3)]),
        ("I-a B-a I-a", [("a", 0, 1), ("a", 1, 3)]),
        ("B-a O I-a", [("a", 0, 1), ("a", 2, 3)]),  # an O ends the span
        ("B-toloc.city-name I-toloc.city-name", [("toloc.city-name", 0, 2)]),
        ("B-a-b I-a", [("a-b", 0, 1), ("a", 1, 2)]),
    ],
)
def test_spans(tags, expected):
    assert spans(tags.split()) == [Span(*span) for span in expected]


@pytest.mark.parametrize("tag", ["", "B", "I", "E-a", "S-a", "o", "O-a", "b-a", "a", "-a"])
def test_tag_of_another_form_is_refused(tag):
    with pytest.raises(ValueError, match="not a tag"):
        spans(["B-a", tag])


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("B-a I-a E-a S-a O S-b", "B-a I-a I-a B-a O B-b"),
        ("B-a L-a U-a U-a", "B-a I-a B-a B-a"),
        ("B-a M-a E-a W-b", "B-a I-a I-a B-b"),
        ("I-a I-a B-a I-b", "B-a I-a B-a B-b"),  # IOB1
        ("I-a E-a I-a O E-a", "B-a I-a B-a O B-a"),  # IOE
        # Sequences that the schemes do not allow.
        ("E-a E-a", "B-a B-a"),
        ("S-a I-a E-a", "B-a B-a I-a"),
        ("B-a O E-a", "B-a O B-a"),
        ("B-a E-b", "B-a B-b"),
        ("B-a S-a", "B-a B-a"),
        ("B-x-y E-x-y", "B-x-y I-x-y"),
    ],
)
def test_other_schemes(tags, expected):
    assert to_iob(tags.split()) == expected.split()


ANY_TAG = st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in "ab")])


@given(tags=st.lists(ANY_TAG, max_size=12))
def test_other_schemes_are_read_as_seqeval_reads_them(tags):
    """The rules of seqeval's start_of_chunk, which knows the marks B, I, E and S."""
    starting = []
    for before, tag in zip(["O", *tags], tags, strict=False):
        (mark, _, kind), (mark_before, _, kind_before) = tag.partition("-"), before.partition("-")
        starts = mark in ("B", "S")
        starts |= mark_before in ("E", "S", "O") and mark in ("E", "I")
        starts |= mark != "O" and kind != kind_before
        starting.append(starts)
    found = to_iob(tags)
    assert [tag[0] == "B" for tag in found] == starting
    assert [tag[2:] for tag in found] == [tag[2:] for tag in tags]
    assert spans(found) == spans(to_iob(found))


def test_tags_of_words():
    """Each word with a tag other than O is a span. Without O, F1 is the accuracy."""
    gold = [["DET", "NN", "VB"], ["NN"]]
    found = [["DET", "VB", "VB"], ["NN"]]
    scores = score_spans(gold, found, of_words=True)
    assert scores.overall == Counts(correct=3, found=4, gold=4)
    assert scores.overall.f1 == scores.overall.precision == scores.overall.recall == 75
    assert scores.kinds["VB"] == Counts(correct=1, found=2, gold=1)
    assert spans(["B-a", "O", "NN"], of_words=True) == [Span("B-a", 0, 1), Span("NN", 2, 3)]


def test_counted_by_hand():
    """Gold, sentence 1:   [a 0-2] [b 3-4]      predicted: [a 0-2] [a 3-4]   1 of 2 correct
    Gold, sentence 2:      [a 0-1] [a 1-2]      predicted: [a 0-2]           0 of 1 correct
    Gold, sentence 3:      none                 predicted: [c 1-2]           0 of 1 correct
    Gold, sentence 4:      [b 0-1] [b 2-4]      predicted: [b 0-1] [b 2-4]   2 of 2 correct

    a: gold 3, found 3, correct 1; b: gold 3, found 2, correct 2; c: gold 0, found 1, correct 0.
    All: gold 6, found 6, correct 3: precision, recall and F1 are 50.
    b: precision 100, recall 66.67, F1 = 2 * 100 * 66.67 / 166.67 = 80.
    """
    gold = ["B-a I-a O B-b", "B-a B-a", "O O O", "B-b O B-b I-b"]
    predicted = ["B-a I-a O B-a", "B-a I-a", "O I-c O", "I-b O I-b I-b"]
    overall, kinds = score_spans(map(str.split, gold), map(str.split, predicted))
    assert overall == Counts(correct=3, found=6, gold=6)
    assert (overall.precision, overall.recall, overall.f1) == (50, 50, 50)
    assert kinds == {"a": Counts(1, 3, 3), "b": Counts(2, 2, 3), "c": Counts(0, 1, 0)}
    assert list(kinds) == ["a", "b", "c"]
    assert kinds["b"].precision == 100
    assert kinds["b"].recall == pytest.approx(200 / 3)
    assert kinds["b"].f1 == pytest.approx(80)
    assert kinds["c"] == Counts(found=1)
    assert (kinds["c"].precision, kinds["c"].recall, kinds["c"].f1) == (0, 0, 0)


def test_span_ends_with_its_sentence():
    """Two sentences of one word each are two spans; as one sentence they would be one."""
    assert score_spans([["B-a"], ["I-a"]], [["I-a"], ["I-a"]]).overall == Counts(2, 2, 2)
    assert score_spans([["B-a", "I-a"]], [["I-a", "I-a"]]).overall == Counts(1, 1, 1)


def test_scores_without_spans():
    nothing = Counts()
    assert score_spans([], []) == (nothing, {})
    assert score_spans([["O"], []], [["O"], []]) == (nothing, {})
    assert (nothing.precision, nothing.recall, nothing.f1) == (0, 0, 0)


def test_kind_that_training_never_saw_counts_as_missed():
    overall, kinds = score_spans([["B-new", "O", "B-a"]], [["O", "O", "B-a"]])
    assert overall == Counts(1, 1, 2)
    assert kinds["new"] == Counts(0, 0, 1)


def test_sides_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 tags for 1 words"):
        score_spans([["O"]], [["O", "O"]])
    with pytest.raises(ValueError, match="shorter"):
        score_spans([["O"], ["O"]], [["O"]])


def ends(before: str, tag: str) -> bool:
    """Whether a span ends between two neighbouring tags."""
    mark, _, kind = before.partition("-")
    if mark == "O":
        return False
    return tag[0] in "OB" or tag.partition("-")[2] != kind


def starts(before: str, tag: str) -> bool:
    """Whether a span starts between two neighbouring tags."""
    if tag == "O":
        return False
    return before == "O" or tag[0] == "B" or tag.partition("-")[2] != before.partition("-")[2]


def kind_of(tag: str) -> str:
    return tag.partition("-")[2]


def count_by_walking(
    gold: list[list[str]], predicted: list[list[str]]
) -> tuple[Counts, dict[str, Counts]]:
    """The counts by conlleval's algorithm, with an O between sentences."""
    counts: dict[str, list[int]] = {}

    def add(tag: str, what: int) -> None:
        counts.setdefault(kind_of(tag), [0, 0, 0])[what] += 1

    before = ("O", "O")
    same = False  # whether an open span has been the same on both sides so far
    for now in (
        pair
        for pairs in zip(gold, predicted, strict=True)
        for pair in [*zip(*pairs, strict=True), ("O", "O")]
    ):
        ended = [ends(*tags) for tags in zip(before, now, strict=True)]
        started = [starts(*tags) for tags in zip(before, now, strict=True)]
        if same and all(ended):
            add(before[0], 0)
        same = same and not any(ended)
        if all(started) and kind_of(now[0]) == kind_of(now[1]):
            same = True
        elif any(started):
            same = False
        if started[1]:
            add(now[1], 1)
        if started[0]:
            add(now[0], 2)
        before = now
    kinds = {kind: Counts(*counts[kind]) for kind in sorted(counts)}
    return Counts(*(sum(column) for column in zip(*counts.values(), strict=True))), kinds


TAG = st.sampled_from(["O", "O", "B-a", "I-a", "B-b", "I-b", "B-a-b", "I-a-b"])
PAIRS = st.lists(
    st.one_of(
        st.lists(st.tuples(TAG, TAG), max_size=8),
        st.lists(TAG.map(lambda tag: (tag, tag)), max_size=8),  # random tags rarely agree
    ),
    max_size=5,
)


@given(pairs=PAIRS)
def test_scores_are_those_of_conllevals_algorithm(pairs):
    gold, predicted = ([[pair[i] for pair in sentence] for sentence in pairs] for i in (0, 1))
    overall, kinds = score_spans(gold, predicted)
    assert (overall, kinds) == count_by_walking(gold, predicted)
    for count in (overall, *kinds.values()):
        assert 0 <= count.correct <= min(count.found, count.gold)
        total = count.precision + count.recall
        mean = 2 * count.precision * count.recall / total if total else 0
        assert count.f1 == pytest.approx(mean)


@given(tags=st.lists(TAG, max_size=12))
def test_spans_by_brute_force(tags):
    """Spans are the word ranges that start and end at span boundaries and have none inside."""
    expected = []
    for start in range(len(tags)):
        for end in range(start + 1, len(tags) + 1):
            edges = [(before, tag) for before, tag in zip(["O", *tags], [*tags, "O"], strict=True)]
            inside = edges[start + 1 : end]
            if (
                starts(*edges[start])
                and ends(*edges[end])
                and not any(starts(*edge) or ends(*edge) for edge in inside)
            ):
                expected.append(Span(kind_of(tags[start]), start, end))
    assert spans(tags) == expected
