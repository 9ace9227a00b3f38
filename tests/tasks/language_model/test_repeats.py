"""Repeated passages against sets of substrings."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.tasks.language_model import repeats as module
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.repeats import Repeated, as_json, repeats, repeats_words

TEXTS = st.text("ab\u65c5\U0001f682", max_size=60)


def with_sets(train: str, text: str, window: int) -> Repeated | None:
    """The shares from the sets of all windows."""
    if len(text) < window:
        return None
    known = {train[start : start + window] for start in range(len(train) - window + 1)}
    marks, earlier = ([False] * len(text) for _ in range(2))
    for start in range(len(text) - window + 1):
        passage = text[start : start + window]
        for each, found in ((marks, passage in known), (earlier, passage in text[:start])):
            if found:
                each[start : start + window] = [True] * window
    return Repeated(sum(marks) / len(text), sum(earlier) / len(text))


@given(TEXTS, TEXTS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3, 8, 2**16]))
@example("", "", 1, 1)
@example("abab", "abababab", 4, 1)
def test_shares_are_those_of_sets_of_substrings(train, text, window, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        found = repeats(train, text, (window,))[str(window)]
    assert found == pytest.approx(with_sets(train, text, window))


def test_windows_of_32_and_128_characters():
    """A passage of 140 characters from the training text, and one of 40, in 300 characters."""
    train = "".join(map(chr, range(0x4E00, 0x5000)))
    new = "".join(map(chr, range(0x6000, 0x6000 + 120)))
    text = train[7:147] + new[:60] + train[300:340] + new[60:]
    assert repeats(train, text) == {
        "32": Repeated(180 / 300, 0.0), "128": Repeated(140 / 300, 0.0),
    }  # fmt: skip
    assert repeats("", text + text)["128"] == Repeated(0.0, 0.5)
    assert repeats(train, text[:127])["128"] is None


def test_lone_surrogates_are_characters():
    assert repeats("a\ud800b", "\ud800b", (2,))["2"] == Repeated(1.0, 0.0)


def test_jay_chou_repeats_itself(corpora):
    """Its xz is so good because the held-out songs repeat their own lines, not those before."""
    corpus = load_corpus("jaychou", corpora_dir=corpora)
    text = corpus.text("valid") + corpus.text("test")
    found = repeats(corpus.text("train"), text)
    for window, shares in found.items():
        assert shares == with_sets(corpus.text("train"), text, int(window))
    assert found["32"] == pytest.approx((0.0251, 0.3470), abs=1e-4)
    assert found["128"] == pytest.approx((0.0, 0.1496), abs=1e-4)


def test_words():
    found = {"32": Repeated(0.251, 0.02), "128": Repeated(0.04, 0.0)}
    first = (
        "repeats in the held-out text, as passages of 32 / 128 characters or more: 25.1% / 4.0% "
        "stand in the training text, 2.0% / 0.0% earlier in the held-out text itself"
    )
    assert repeats_words(found, "held-out text") == (
        first + ". So much is known from training that the scores are better than for new text"
    )
    low = {"32": Repeated(0.05, 0.05), "128": None}
    assert repeats_words(low, "scored text") == (
        "repeats in the scored text, as passages of 32 characters or more: 5.0% stand in the "
        "training text, 5.0% earlier in the scored text itself"
    )
    songs = {"32": Repeated(0.0, 0.35)}
    assert repeats_words(songs, "held-out text").endswith(
        "itself. xz learns while it reads, so it scores repeats better than the others"
    )
    assert repeats_words({"32": None}, "held-out text") is None
    assert as_json(low) == {"32": {"training": 0.05, "itself": 0.05}, "128": None}
