"""Cleaning and encoding a prefix, and the notices about it."""

from __future__ import annotations

import pytest
import torch

from charlm.corpus import Vocabulary
from charlm.errors import UsageError
from charlm.tasks.language_model import _beginning
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.prefix import (
    Prefix,
    describe_characters,
    prepare_prefix,
    start_prefix,
)

VOCABULARY = Vocabulary.from_text("the time traveller 分开\n")


def test_prefix_that_needs_no_change():
    prefix = prepare_prefix("time\n分", "none", VOCABULARY)
    assert prefix.text == "time\n分"
    assert prefix.notices == ()
    assert prefix.ids == tuple(VOCABULARY.encode("time\n分").tolist())
    assert all(type(token) is int and token > 0 for token in prefix.ids)


@pytest.mark.parametrize(
    ("given", "cleaning", "text"),
    [
        ("The Time-Traveller, ", "letters", "the time traveller"),
        ("分\r\n开\n", "spaces", "分  开 "),
        ("the\ntime", "letters", "thetime"),
    ],
)
def test_cleaning_is_the_corpuss_and_is_reported(given, cleaning, text):
    prefix = prepare_prefix(given, cleaning, VOCABULARY)
    assert prefix.text == text
    assert prefix.ids == tuple(VOCABULARY.encode(text).tolist())
    assert prefix.notices == (f"the prefix was cleaned as the corpus was ({cleaning}): {text!r}",)


def test_unknown_characters_are_listed_once_with_their_code_points():
    prefix = prepare_prefix("time ünd é é\x1b", "none", VOCABULARY)
    assert prefix.text == "time ünd é é\x1b"
    assert [token == 0 for token in prefix.ids] == [c in "ündé\x1b" for c in prefix.text]
    assert prefix.notices == (
        "not in the vocabulary, the model reads <unk> instead: "
        "'ü' U+00FC LATIN SMALL LETTER U WITH DIAERESIS, "
        "'n' U+006E LATIN SMALL LETTER N, "
        "'d' U+0064 LATIN SMALL LETTER D, "
        "'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE, "
        "'\\x1b' U+001B",
    )


def test_cleaning_and_unknown_characters_are_both_reported():
    prefix = prepare_prefix("Zeit\n", "letters", VOCABULARY)
    assert (prefix.text, prefix.ids) == ("zeit", (0, *VOCABULARY.encode("eit").tolist()))
    cleaned, unknown = prefix.notices
    assert "'zeit'" in cleaned
    assert "'z' U+007A LATIN SMALL LETTER Z" in unknown
    assert "\n" not in cleaned + unknown


@pytest.mark.parametrize(
    ("given", "cleaning", "message"),
    [
        *(("", cleaning, "the prefix '' is empty") for cleaning in ("none", "letters", "spaces")),
        *(
            (
                given,
                "letters",
                f"the prefix {given!r} has nothing left after the cleaning 'letters'",
            )
            for given in ("123 !\n", " ", "分开")
        ),
    ],
)
def test_prefix_without_characters_is_refused(given, cleaning, message):
    with pytest.raises(UsageError) as caught:
        prepare_prefix(given, cleaning, VOCABULARY)
    assert caught.value.message == message
    assert "--prefix" in caught.value.hint


def test_unknown_cleaning_is_refused():
    with pytest.raises(UsageError, match="unknown cleaning 'leters'"):
        prepare_prefix("time", "leters", VOCABULARY)


@pytest.mark.parametrize(
    ("characters", "words"),
    [
        ("", ""),
        ("a", "'a' U+0061 LATIN SMALL LETTER A"),
        ("\n", "'\\n' U+000A"),
        ("😀分", "'😀' U+1F600 GRINNING FACE, '分' U+5206 CJK UNIFIED IDEOGRAPH-5206"),
        ("\udcff", "'\\udcff' U+DCFF"),
    ],
)
def test_characters_are_described_by_code_point_and_name(characters, words):
    assert describe_characters(characters) == words


@pytest.mark.parametrize(
    ("text", "bias", "read"),
    [
        ("a b\n", 0.0, "\n\n"),  # a blank line is as probable as any character
        ("a b\n", -9.0, "\n"),
        ("a b", 0.0, " "),
        ("ACGT", 0.0, "G"),
    ],
)
def test_a_text_starts_after_a_line_end_a_space_or_the_given_character(text, bias, read):
    vocabulary = Vocabulary.from_text(text)
    section = LanguageModelSection(hidden_size=4, embedding_size=4)
    model = build_language_model(section, len(vocabulary))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.head.bias[vocabulary.encode("\n")] = bias
    expected = Prefix(text="", ids=tuple(vocabulary.encode(read).tolist()), notices=())
    assert start_prefix(model, vocabulary, "GT") == expected


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("of a man and his dog", "a man"),
        ("na\nbob\ncy\n", "bob"),  # without a space in the text, none in the prefix
        ("in understandable words", "understandab"),
    ],
)
def test_the_first_prefix_has_only_characters_of_the_text(text, prefix):
    assert _beginning(text) == prefix
