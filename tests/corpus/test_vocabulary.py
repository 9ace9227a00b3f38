from __future__ import annotations

import collections
import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import Vocabulary
from charlm.errors import CorpusError

# Lone surrogates too: a terminal can hand them to the program.
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("aab\ud800\udc00"))


@given(ANY_TEXT)
def test_decode_is_the_inverse_of_encode(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert 0 not in ids
    assert vocabulary.decode(ids) == text


@given(ANY_TEXT)
def test_ids_are_those_of_the_book(text):
    counter = collections.Counter(list(text))
    token_freqs = sorted(counter.items(), key=lambda item: item[1], reverse=True)
    idx_to_token = ["<unk>"] + [token for token, _ in token_freqs]
    vocabulary = Vocabulary.from_text(text)
    assert list(vocabulary.characters) == idx_to_token[1:]
    assert len(vocabulary) == len(idx_to_token)
    assert list(vocabulary.encode(text)) == [idx_to_token.index(c) for c in text]


@given(ANY_TEXT, ANY_TEXT)
def test_unknown_characters(known, text):
    vocabulary = Vocabulary.from_text(known)
    unknown = vocabulary.unknown_characters(text)
    assert unknown == tuple(dict.fromkeys(c for c in text if c not in known))
    assert vocabulary.decode(vocabulary.encode(text)) == "".join(
        "\ufffd" if c in unknown else c for c in text
    )


def test_order_and_ids_by_hand():
    vocabulary = Vocabulary.from_text("cabbacd")
    assert vocabulary.characters == ("c", "a", "b", "d")
    assert vocabulary.encode("abx\U0010ffff").tolist() == [2, 3, 0, 0]
    assert vocabulary.decode([1, 0, 4]) == "c\ufffdd"


def test_empty():
    vocabulary = Vocabulary.from_text("")
    assert len(vocabulary) == 1
    assert vocabulary.encode("ab").tolist() == [0, 0]
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize("bad", [-1, 3])
def test_decode_refuses_ids_out_of_range(bad):
    with pytest.raises(ValueError, match="0 to 2"):
        Vocabulary.from_text("ab").decode([1, bad])


@given(ANY_TEXT)
def test_json_and_back(text):
    vocabulary = Vocabulary.from_text(text)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_equality():
    assert Vocabulary.from_text("ab") == Vocabulary.from_text("aab")
    assert Vocabulary.from_text("ab") != Vocabulary.from_text("ba")


@pytest.mark.parametrize("data", [None, "ab", {"a": 1}, ["a", "a"], ["ab"], [""], [1], [["a"]]])
def test_from_json_refuses(data):
    with pytest.raises(CorpusError, match="distinct single characters"):
        Vocabulary.from_json(data)


def test_blocks_and_speed():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 4_999))) * 500  # more than two blocks
    vocabulary = Vocabulary.from_text(text)
    start = time.process_time()
    ids = vocabulary.encode(text)
    assert time.process_time() - start < 2  # 0.05 s on an idle machine
    assert np.array_equal(ids, np.tile(np.arange(1, 5_000), 500))
