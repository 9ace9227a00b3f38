"""What a text is like at each character, by hand."""

from __future__ import annotations

import pytest

from charlm.tasks.language_model import features as module
from charlm.tasks.language_model.features import features


@pytest.fixture(autouse=True)
def _common(monkeypatch):
    """Features are kept however rare they are."""
    monkeypatch.setattr(module, "LEAST", 0)


def marks(text, name):
    """The class of each character, as digits."""
    (found,) = (each for each in features(text) if each.name == name)
    return "".join(map(str, found.classes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a "b c" d', "001111000"),
        ("\u201ca \u2018b\u2019\u201d c", "111111000"),
        ("\u300c\u5206\u5f00\u300d\u4e0d", "11100"),
        ('"a\n\nb', "11100"),  # an empty line ends it
        ("it's 'tis, 'em", "0" * 14),  # ' is no quote in this text
        ("\n\n'It's so,' he said. 'Is it?'", "00" + "1" * 9 + "0" * 11 + "1" * 7 + "0"),
    ],
)
def test_inside_quotes(text, expected):
    assert "".join(str(int(each)) for each in module._in_quotes(text)) == expected


def test_brackets_and_how_deep():
    text = "a(b[c]d)e)f"
    assert marks(text, "inside brackets") == "01111110000"
    assert marks(text, "bracket depth") == "01122110000"
    assert "bracket depth" not in {each.name for each in features("a(b)c")}
    assert marks("((((a", "bracket depth") == "12333"


def test_lines_and_paragraphs():
    text = "abcdef\n\nab\nabcdef\n"
    assert marks(text, "line of the paragraph") == "000000100011111112"
    found = next(each for each in features(text) if each.name == "place in the line")
    assert found.labels == ("0", "1", "2", "3-4", "5 and more")
    assert "".join(map(str, found.classes)) == "123344001201233440"
    assert "place in the line" not in {each.name for each in features("no line end")}


def test_words():
    text = "The ABC A1 x"
    assert marks(text, "first letter of a word") == "100010001001"
    assert marks(text, "letters of the word so far") == "123012301001"
    assert marks(text, "word with a capital first") == "111011101000"
    assert marks(text, "word in capitals") == "000001100000"
    assert marks(text, "digit") == "000000000100"
    assert marks(text, "capital letter") == "100011101000"
    assert marks(text, "after ' '") == "000100010010"


def test_a_feature_is_known_before_the_next_character():
    """A longer text begins with the same classes; but the ranges of places are of the text."""
    text = '(The A "B c\nd) E 12\n\nF g'
    whole = {each.name: each.classes for each in features(text)}
    for end in range(2, len(text)):
        for each in features(text[:end]):
            if each.name != "place in the line":
                assert (each.classes == whole.get(each.name, each.classes)[:end]).all()


def test_rare_features_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 3)
    assert {each.name for each in features("a" * 20)} == set()
    assert "digit" not in {each.name for each in features("a1" * 3 + "a" * 20)}
    assert "digit" in {each.name for each in features("a1" * 10)}
