"""Copied passages against all substrings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.tasks.language_model import copies as module
from charlm.tasks.language_model.copies import Passage, copies, copies_report, passages
from charlm.tasks.language_model.corpus import load_corpus

TEXTS = st.text("ab\u65c5", max_size=50)


def ids_of(text: str) -> np.ndarray:
    return np.array([*map(ord, text)], np.uint32)


@given(TEXTS, TEXTS, st.sampled_from([1, 2, 4]))
@example("", "", 1)
@example("abab", "", 1)
@example("aaaaaaaa", "aaaaaaaaaaaa", 4)
def test_passages_are_those_of_all_substrings(train, text, shortest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_PLACES", 50)
        found = passages(ids_of(train), ids_of(text), shortest)
    covered = set[int]()
    for start, length, place in found:
        assert length >= shortest
        assert text[start : start + length] == train[place : place + length]
        # It is as long as it can be there.
        assert start == 0 or place == 0 or text[start - 1] != train[place - 1]
        ends = start + length == len(text) or place + length == len(train)
        assert ends or text[start + length] != train[place + length]
        covered |= {*range(start, start + length - shortest + 1)}
    starts = range(len(text) - shortest + 1)
    assert covered == {s for s in starts if text[s : s + shortest] in train}
    sizes = range(1, len(text) + 1)
    parts = {text[s : s + n] for n in sizes for s in range(len(text)) if s + n <= len(text)}
    most = max((len(part) for part in parts if part in train), default=0)
    assert max((each.length for each in found), default=0) == (most if most >= shortest else 0)
    pairs = [(each.start, each.start + each.length) for each in found]
    assert pairs == sorted(pairs)
    assert not any(a <= c and d <= b for a, b in pairs for c, d in pairs if (a, b) != (c, d))


def test_planted_passages_are_found_with_their_places():
    """A text of a million characters, in many chunks."""
    draws = np.random.default_rng(0)
    train = draws.integers(1, 60, 1_000_000).astype(np.uint8)
    text = draws.integers(1, 60, 50_000).astype(np.int64)
    planted = []
    for number in range(40):
        start, place = 1000 * number + 17, int(draws.integers(0, 999_800))
        text[start : start + 200] = train[place : place + 200]
        planted.append((start, place))
    found = copies(train, text)
    assert len(found.passages) == 40
    for each, (start, place) in zip(
        sorted(found.passages, key=lambda each: each.start), planted, strict=True
    ):
        # A character before or after it may be equal by chance.
        assert each.start <= start
        assert each.start + each.length >= start + 200
        assert each.place - each.start == place - start
    assert found.windows[32] == pytest.approx(40 * 169 / 49_969, rel=0.01)
    assert [each.length for each in found.passages] == sorted(
        (each.length for each in found.passages), reverse=True
    )


def test_a_separator_is_in_no_passage_and_a_short_text_has_no_shares():
    train = ids_of("the cat sat on the mat, and the dog ate it")
    text = np.concatenate([ids_of("and the dog ate it"), [10**6], ids_of("the cat sat on")])
    found = copies(train, text.astype(np.int64))
    assert found.passages == [Passage(0, 18, 24)]
    assert found.windows == {8: 18 / 26, 16: 3 / 18, 32: 0.0}
    short = copies(train, ids_of("the cat"))
    assert short.windows == {8: None, 16: None, 32: None}
    assert short.passages == []


def test_a_part_of_the_training_text_gives_the_same_places(tmp_path):
    (tmp_path / "text.txt").write_text("".join(map(str, range(9000))), encoding="utf-8")
    corpus = load_corpus(str(tmp_path / "text.txt"), split=(0.9, 0.1, 0.0))
    train = corpus.text("train")
    texts = [train[100:170], train[-200:-150]]
    whole, part = copies_report(corpus, texts), copies_report(corpus, texts, 1000)
    assert [each["length"] for each in whole.content["passages"]] == [70, 50]
    assert part.content["passages"] == whole.content["passages"][1:]
    words = [block for block in part.blocks if isinstance(block, str)]
    assert words[0] == f"the last 1,000 of {len(train):,} training characters were compared"
