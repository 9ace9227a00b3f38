"""Characters in groups: against a loop over the characters, and each of them once."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.corpus import Vocabulary
from charlm.tasks.language_model import kinds as module
from charlm.tasks.language_model.corpus import Characters
from charlm.tasks.language_model.kinds import FREQUENCIES, KINDS, groupings

WORD = r"[^\W\d_分]+(?:['’][^\W\d_分]+)*"
REST = {" ": "spaces", "\n": "line ends", "1": "digits", "分": "Han characters"}


def characters(text: str) -> Characters:
    vocabulary = Vocabulary.from_text(text)
    return Characters(vocabulary, vocabulary.encode(text))


def groups_of(text: str, parts=None, train: str | None = "") -> dict[str, list[str]]:
    """The group of each predicted character, by the name of the grouping."""
    parts = parts or [(1, len(text))]
    found = groupings(characters(text), parts, None if train is None else characters(train))
    return {each.name: [each.labels[index] for index in each.groups] for each in found}


def slow(text: str, train: str) -> dict[str, list[str]]:
    """The same, one character at a time."""
    counts = Counter(re.findall(WORD, train))
    kinds = [REST.get(c, "punctuation, symbols") for c in text]
    frequency = ["not in a word"] * len(text)
    for word in re.finditer(WORD, text):
        for place, index in enumerate(range(word.start(), word.end())):
            if text[index].isupper():
                kinds[index] = KINDS[6 if place else 5]
            elif text[index].isalpha():
                kinds[index] = KINDS[min(place, 4)]
            count = counts[word[0]]
            bounds = (1, 2, 6, 21, 101, 1001)
            frequency[index] = FREQUENCIES[sum(bound <= count for bound in bounds)]
    return {"kind": kinds, "word_frequency": frequency}


TEXTS = st.text(alphabet="abBé'’-1分 \n", max_size=60)


@settings(max_examples=60)
@given(text=TEXTS, train=TEXTS, block=st.integers(1, 9), data=st.data())
def test_groups_are_those_of_a_loop(text, train, block, data):
    """In blocks, and in parts of the text: words go on beyond the ends of both."""
    text, train = f"the {text} them", f"a the {train * 3}"
    cuts = data.draw(st.lists(st.integers(1, len(text)), max_size=6, unique=True))
    bounds = sorted({1, *cuts, len(text)})
    parts = list(itertools.pairwise(bounds))[:: data.draw(st.sampled_from([1, 2]))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = groups_of(text, parts, train)
    where = [index for begin, end in parts for index in range(begin, end)]
    for name, expected in slow(text, train).items():
        assert found[name] == [expected[index] for index in where], name
    assert len(found["after"]) == len(where)


@settings(max_examples=30)
@given(text=st.text(min_size=2, max_size=50), train=st.text(max_size=20))
def test_any_character_is_in_one_group_of_each_grouping(text, train):
    for each in groupings(characters(text), [(1, len(text))], characters(train)):
        assert each.groups.shape == (len(text) - 1,)
        assert each.groups.max(initial=0) < len(each.labels)


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        ("ß", "2nd letters"),
        ("\u0301", "2nd letters"),  # an accent belongs to its letter
        ("é", "2nd letters"),
        ("Ж", "capitals, later"),
        ("ह", "2nd letters"),
        ("한", "2nd letters"),
        ("の", "kana"),
        ("ｶ", "kana"),
        ("々", "Han characters"),
        ("ก", "Thai letters"),
        ("ँ", "2nd letters"),
        ("٣", "digits"),
        ("½", "digits"),
        ("\u3000", "spaces"),
        ("\t", "spaces"),
        ("\u2028", "line ends"),
        ("。", "punctuation, symbols"),
        ("😀", "punctuation, symbols"),
        ("\x00", "other"),
        ("\ue000", "other"),
        ("\udcff", "other"),
    ],
)
def test_kinds_of_characters_after_a_letter(character, kind):
    assert groups_of(f"ab a{character}")["kind"][-1] == kind


def test_a_text_without_spaces_has_scripts_and_the_frequency_of_characters():
    found = groups_of("我们好 Hi你, ж\n", train="我我们")
    assert found["kind"] == [
        *("Han characters", "Han characters", "spaces", "Latin letters", "Latin letters"),
        *("Han characters", "punctuation, symbols", "spaces", "other letters", "line ends"),
    ]
    assert "word_frequency" not in found
    assert found["character_frequency"] == ["once", *["never"] * 9]
    assert groups_of("你我我们", train="我我们")["character_frequency"] == [
        *["2 to 5 times"] * 2,
        "once",
    ]


def test_after_the_most_frequent_characters():
    found = groups_of("a b\tb\n" + "b" * 9 + "\u0301c")
    assert found["after"][:5] == ["a", "a space", "b", "a tab", "b"]
    assert found["after"][-1] == "U+0301"
    many = groups_of("".join(chr(0x4E00 + index) for index in range(30)), train=None)
    assert Counter(many["after"])["other characters"] == 29 - module.AFTER
    assert set(many) == {"kind", "after"}


def test_words_of_the_last_training_characters_are_counted(monkeypatch):
    monkeypatch.setattr(module, "COUNTED", 8)
    assert groups_of("a cat", train="cat dog cat")["word_frequency"][-1] == "once"


def test_ids_of_any_integer_type():
    text = characters("the cat sat")
    small = Characters(text.vocabulary, text.ids.astype(np.uint8))
    for a, b in zip(*(groupings(each, [(3, 9)], each) for each in (text, small)), strict=True):
        assert (a.groups == b.groups).all()
