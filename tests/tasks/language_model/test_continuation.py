"""Where a text ends, and what of it can be shown before that is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import Vocabulary
from charlm.errors import UsageError
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.continuation import (
    MOST_MORE,
    Continuation,
    Ending,
    continue_text,
)
from charlm.tasks.language_model.decoding import Decoding, generate
from charlm.tasks.language_model.model import build_language_model


def grow(text: str, characters: str = "", **ending) -> tuple[str, int]:
    """The text that stays, and how many characters were needed until it ended."""
    growing = Continuation(Ending(**ending), Vocabulary.from_text(text + characters))
    shown = ""
    for count, character in enumerate(text, start=1):
        shown += growing.add(character)
        assert text.startswith(shown)
        if growing.ended:
            assert growing.add("x") == ""
            return shown, count
    raise AssertionError(f"not ended: {shown!r}")


@given(
    st.text("ab .\n", max_size=60),
    st.lists(st.integers(1, 9)),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([(), ("ab",), ("b ", "aa.")]),
)
def test_several_characters_at_once_give_the_same_text(text, sizes, length, exact, stops):
    ending = Ending(length=length, exact=exact, stops=stops)
    one, several = (Continuation(ending, Vocabulary.from_text("ab .\n")) for _ in range(2))
    start, shown = 0, ""
    for size in [*sizes, len(text)]:
        shown += several.add(text[start : start + size])
        start += size
        so_far = text[:start]
    assert shown == "".join(one.add(character) for character in so_far)
    assert several.ended == one.ended


@pytest.mark.parametrize(
    ("text", "length", "kept"),
    [
        ("He sat. She went on. Then", 10, "He sat. She went on."),
        ("He sat. She went on. Then", 7, "He sat."),
        ("He sat. She went on. Then", 6, "He sat."),
        ('He said "Go!" Then', 3, 'He said "Go!"'),
        ("(Is it 3.14 or e.g.5?) Then", 3, "(Is it 3.14 or e.g.5?)"),
        ("Wait... what", 3, "Wait..."),
        ("one line\nanother", 3, "one line"),
        ("a line  \n\n  another", 3, "a line"),
        ("他说：“走吧！”然后", 3, "他说：“走吧！”"),
        ("等等……他来了。", 2, "等等……"),
        ("真的？！是的。", 2, "真的？！"),
    ],
)
def test_a_text_goes_on_to_the_end_of_a_sentence_or_line(text, length, kept):
    assert grow(text, length=length)[0] == kept


def test_without_an_end_of_a_sentence_the_first_whole_word_ends_it():
    text = "one two three " + "and on " * 100
    assert grow(text, ".", length=10) == ("one two three", 10 + MOST_MORE)
    assert grow(text, length=10) == ("one two three", len("one two three "))
    assert grow(text, ".", length=7) == ("one two", 7 + MOST_MORE)


def test_without_words_the_length_ends_it():
    assert grow("ACGT" * 100, length=10) == ("ACGTACGTAC", 10)
    assert grow("分开" * 200, "。", length=5) == (("分开" * 200)[: 5 + MOST_MORE], 5 + MOST_MORE)


def test_the_exact_length_ends_it_anywhere():
    assert grow("one two. three ", length=5, exact=True) == ("one t", 5)
    assert grow("one two. three ", length=9, exact=True) == ("one two. ", 9)


@pytest.mark.parametrize("exact", [False, True])
def test_a_text_ends_before_the_first_stop(exact):
    options = {"length": 50, "exact": exact}
    text = "ROMEO: Go. JULIET: No.\n\nNURSE: " + "x" * 50
    assert grow(text, stops=("JULIET:",), **options)[0].rstrip() == "ROMEO: Go."
    assert grow(text, stops=("NURSE", "\n"), **options)[0] == "ROMEO: Go. JULIET: No."
    assert grow(text, stops=("R",), **options) == ("", 1)
    assert grow("ababac" + text, stops=("abac",), **options) == ("ab", 6)


@given(
    text=st.text("ab .\n", min_size=250, max_size=250),
    stops=st.lists(st.text("ab \n", min_size=1, max_size=4), max_size=3),
    length=st.integers(1, 40),
)
def test_nothing_is_shown_that_is_not_in_the_text(text, stops, length):
    """`grow` checks that each shown part continues the text; the rest is checked here."""
    shown, count = grow(text, "ab .\n", stops=tuple(stops), length=length)
    assert not any(stop in shown for stop in stops)
    assert shown == text[: len(shown)]
    stopped = any(text[:count].endswith(stop) for stop in stops)
    assert stopped or count >= length
    assert stopped or shown == shown.rstrip()
    exact, count = grow(text, stops=tuple(stops), length=length, exact=True)
    assert (
        exact == text[:length] if count == length and len(exact) == length else len(exact) < length
    )


@pytest.mark.parametrize("ending", [{"length": 0}, {"length": 5, "stops": ("a", "")}])
def test_an_impossible_ending_is_refused(ending):
    with pytest.raises(UsageError):
        Ending(**ending)


def test_each_sample_is_the_generated_one_up_to_its_own_end():
    vocabulary = Vocabulary.from_text("abc. \n")
    section = LanguageModelSection(hidden_size=8, embedding_size=4)
    model = build_language_model(section, len(vocabulary))
    options = {"decoding": Decoding(), "num_samples": 4, "seed": 3}
    steps = torch.stack(list(generate(model, [1, 2], length=12 + MOST_MORE, **options)), dim=1)
    generated = [vocabulary.decode(row.numpy()) for row in steps]

    def texts(ending):
        steps = list(continue_text(model, vocabulary, [1, 2], ending=ending, **options))
        return ["".join(parts) for parts in zip(*steps, strict=True)], len(steps)

    exact, _ = texts(Ending(length=12, exact=True))
    assert exact == [text[:12] for text in generated]
    found, count = texts(Ending(length=12))
    expected = [grow(text, length=12) for text in generated]
    assert found == [text for text, _ in expected]
    assert len({len(text) for text in found}) > 1
    assert count <= max(count for _, count in expected)  # a step or several at once
