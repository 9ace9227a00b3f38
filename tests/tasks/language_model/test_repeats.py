"""Repeated passages against sets of substrings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.tasks.language_model import repeats as module
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.repeats import Repeated, Repeats, repeats_words

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


def repeats(train: str, text: str, windows=module.WINDOWS, **most) -> dict[str, Repeated | None]:
    ids = [np.array([*map(ord, each)], np.uint32) for each in (train, text)]
    return module.repeats(*ids, windows, **most).shares


@given(TEXTS, TEXTS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3, 8, 2**16]))
@example("", "", 1, 1)
@example("abab", "abababab", 4, 1)
def test_shares_are_those_of_sets_of_substrings(train, text, window, chunk):
    """The numpy form, and the compiled one."""
    expected = with_sets(train, text, window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        patch.setattr(module, "can_compile", lambda: False)
        assert repeats(train, text, (window,))[str(window)] == pytest.approx(expected)
        patch.setattr(module, "can_compile", lambda: True)
        patch.setattr(module, "COMPILE", 0)
        assert repeats(train, text, (window,))[str(window)] == pytest.approx(expected)


def test_compiled_form_finds_the_same_in_a_longer_text(monkeypatch):
    """Words of a small vocabulary, so that passages of 16 characters repeat."""
    draws = np.random.default_rng(0)
    words = [draws.integers(1, 200, 8).astype(np.uint8) for _ in range(100)]
    train, text = (
        np.concatenate([words[index] for index in draws.integers(0, 100, size)])
        for size in (10_000, 4000)
    )
    monkeypatch.setattr(module, "can_compile", lambda: False)
    numpy = module.repeats(train, text, (8, 16))
    monkeypatch.undo()
    monkeypatch.setattr(module, "COMPILE", 0)
    assert module.repeats(train, text, (8, 16)) == numpy
    assert all(0.1 < share < 0.999 for share in numpy.shares["16"])
    monkeypatch.setattr(module, "can_compile", lambda: False)
    assert module.repeats(train, text, (8, 16)) == numpy


def test_long_texts_are_compared_in_part():
    """The last characters of training, and the first of the held-out text."""
    train, text = "abcdefgh" + "ijklmnop" * 2, "ijklabcd" * 2
    assert repeats(train, text, (4,), most_train=16, most_text=8) == {"4": Repeated(0.5, 0.0)}
    ids = np.arange(30)
    found = module.repeats(ids, ids[:20], (2,), most_train=25, most_text=10)
    assert found == Repeats({"2": Repeated(0.5, 0.0)}, (10, 20), (25, 30))
    assert repeats_words(found, "held-out text") == (
        "repeats of 2+ characters in the held-out text: 50.0% from training, 0.0% from "
        "itself (compared: its first 10 characters, the last 25 of training); on new text the "
        "scores would be worse"
    )


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


def of(shares) -> Repeats:
    return Repeats(shares, (400, 400), (4000, 4000))


def test_words():
    found = of({"32": Repeated(0.251, 0.02), "128": Repeated(0.04, 0.0)})
    assert repeats_words(found, "held-out text") == (
        "repeats of 32+ characters in the held-out text: 25.1% from training, 2.0% from "
        "itself; on new text the scores would be worse"
    )
    low = of({"32": Repeated(0.05, 0.05), "128": None})
    assert repeats_words(low, "scored text") == (
        "repeats of 32+ characters in the scored text: 5.0% from training, 5.0% from itself"
    )
    songs = of({"32": Repeated(0.0, 0.35)})
    assert repeats_words(songs, "held-out text").endswith(
        "itself; xz profits, because it learns while it reads"
    )
    none = of({"32": Repeated(0.0, 0.0004)})
    assert repeats_words(none, "text") == "repeats of 32+ characters in the text: none"
    assert repeats_words(of({"32": None}), "held-out text") is None
    assert low.as_json() == {
        "repeated": {"32": {"training": 0.05, "itself": 0.05}, "128": None},
        "compared_characters": 400,
        "compared_train_characters": 4000,
    }
