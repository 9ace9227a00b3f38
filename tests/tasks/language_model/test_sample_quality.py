"""Made-up words, distinct n-grams and copied passages, counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.tasks.language_model.sample_quality import (
    copied_share,
    distinct_share,
    has_words,
    made_up_share,
)

CORPUS = "The time traveller's machine. It was 1895, he said."


def test_made_up_words_stand_nowhere_in_the_corpus():
    assert made_up_share(["the traveller's time", "The TIME, said!"], CORPUS) == 0
    assert made_up_share(["the timer said", "tra"], CORPUS) == 2 / 4
    assert made_up_share([], CORPUS) == made_up_share(["... "], CORPUS) == 0


def test_without_words_the_trigrams_of_characters_are_counted():
    corpus = "火车慢慢开进了小站\n我在窗边"
    assert not has_words(corpus)
    assert made_up_share(["车慢慢开"], corpus) == 0
    assert made_up_share(["慢慢 开开进"], corpus) == 2 / 3  # 慢慢开 is known, without the space
    assert has_words("Привет, как дела? 你好")
    assert has_words("")


@pytest.mark.parametrize(
    ("texts", "n", "words", "share"),
    [
        (["a b c d"], 4, True, 1),
        (["A b a b a"], 2, True, 2 / 4),
        (["a b", "a b"], 2, True, 1 / 2),
        (["我我 我我"], 2, False, 1 / 3),
        (["a"], 4, True, 1),
    ],
)
def test_distinct_ngrams(texts, n, words, share):
    assert distinct_share(texts, n, words=words) == share


def test_copied_runs():
    corpus = "the quick brown fox jumps"
    text = "a quick brown cat, the quick fox jumps"
    # " quick brown " and, as one run, "the quick " and " fox jumps"
    assert copied_share([text, "xx"], corpus, 8) == (13 + 19) / (len(text) + 2)
    assert copied_share([text, "", "short"], corpus, 16) == copied_share([], corpus) == 0


@given(
    text=st.text("ab分😀", max_size=60),
    corpus=st.text("ab分😀", max_size=80),
    size=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_windows_are_those_of_a_search(text, corpus, size):
    starts = [i for i in range(len(text) - size + 1) if text[i : i + size] in corpus]
    covered = {place for start in starts for place in range(start, start + size)}
    assert copied_share([text], corpus, size) == len(covered) / max(len(text), 1)
