from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import CLEANINGS, clean
from charlm.errors import UsageError


def letters_line_by_line(text: str) -> str:
    """The book's own lines, over the lines that a text file yields."""
    lines = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8", "replace")
    return "".join(re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in lines)


@given(st.text(st.sampled_from("aBzZ  \n\r\v\x1c\x85\u2028é時'-.\0")) | st.text())
def test_letters_is_the_books_own(text):
    assert clean(text, "letters") == letters_line_by_line(text)


def test_letters_by_hand():
    text = "The Time Machine, by H. G. Wells [1898]\n\n\n  I\r\n'twas  a\u2028day --\n"
    assert clean(text, "letters") == "the time machine by h g wellsitwas a day"


def test_spaces_and_none():
    text = "天亮\n以前\r\n\r a"
    assert clean(text, "spaces") == "天亮 以前    a"
    assert clean(text, "none") == text


@pytest.mark.parametrize("text", [" " * 5_000_000, "ab, " * 1_250_000, "\n " * 2_500_000])
@pytest.mark.parametrize("name", CLEANINGS)
def test_linear_time(text, name):
    start = time.perf_counter()
    assert len(clean(text, name)) <= len(text)
    assert time.perf_counter() - start < 5


def test_unknown_name_names_the_nearest():
    with pytest.raises(UsageError, match="unknown cleaning 'leters'") as caught:
        clean("", "leters")
    assert caught.value.hint.startswith("did you mean letters?")
