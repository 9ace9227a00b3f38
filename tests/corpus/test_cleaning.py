from __future__ import annotations

import time

import pytest

from charlm.corpus import CLEANINGS, clean
from charlm.errors import UsageError


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
    start = time.process_time()
    assert len(clean(text, name)) <= len(text)
    assert time.process_time() - start < 5


def test_unknown_name_names_the_nearest():
    with pytest.raises(UsageError, match="unknown cleaning 'leters'") as caught:
        clean("", "leters")
    assert caught.value.hint.startswith("did you mean letters?")


def test_trim_makes_ptb_char_of_ptb():
    """A line of the Penn Treebank's words, and the same line of its ptb.char file."""
    words = " <unk> 's <unk> N \n in new york  stock \n"
    characters = "< u n k > _ ' s _ < u n k > _ N\ni n _ n e w _ y o r k _ _ s t o c k\n"
    assert clean(words, "trim") == characters.replace(" ", "").replace("_", " ")
