from __future__ import annotations

import json
import sys
import time
import unicodedata
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.words import (
    WordVocabulary,
    ngram_ids,
    normalise_word,
    split_words,
    word_shape,
)
from charlm.errors import CorpusError, UsageError

words_module = sys.modules["charlm.corpus.words"]


# ---------------------------------------------------------------- words

SPLIT = [
    ("The film, 10/10!", "the film 10 10", "the film , 10 / 10 !"),
    ("I don't; 'quoted'", "i don't quoted", "i don't ; ' quoted '"),
    ("rock’n’roll it’s", "rock'n'roll it's", "rock'n'roll it's"),
    ("dogs' o'clock'", "dogs o'clock", "dogs ' o'clock '"),
    ("one<br />two<BR>three<br/><br  />", "one two three", "one two three"),
    ("a <b>bold</b>", "a b bold b", "a < b > bold < / b >"),
    ("_emphasis_ well-known", "emphasis well known", "_ emphasis _ well - known"),
    ("...", "", ". . ."),
    ("$5.00", "5 00", "$ 5 . 00"),
    ("夜行列车 in 分开3次。", "夜 行 列 车 in 分 开 3 次", "夜 行 列 车 in 分 开 3 次 。"),
    ("これは日本語です", "これは 日 本 語 です", "これは 日 本 語 です"),
    ("人々", "人 々", "人 々"),
    ("한국어 문장", "한국어 문장", "한국어 문장"),
    ("Привет, МИР", "привет мир", "привет , мир"),
    ("हिन्दी में", "हिन्दी में", "हिन्दी में"),
    ("ภาษาไทย", "ภาษาไทย", "ภาษาไทย"),
    ("می\u200cخواهم", "می\u200cخواهم", "می\u200cخواهم"),
    ("NAÏVE cafe\u0301", "naïve cafe\u0301", "naïve cafe\u0301"),
    ("👍 ❤\ufe0f", "", "👍 ❤"),
    ("a\x00b\ufeffc\u200bd", "a b c d", "a b c d"),
    ("𠮷野家", "𠮷 野 家", "𠮷 野 家"),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "words", "with_punctuation"), SPLIT)
def test_split_words(text, words, with_punctuation):
    assert split_words(text) == words.split()
    assert split_words(text, punctuation=True) == with_punctuation.split()


ANY = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("aB9'’-_.<br/> 分é\u0301\u200d")
    ),
    max_size=40,
)


def split_slowly(text: str) -> list[str]:
    """The same as ``split_words`` without line breaks, character by character."""
    text = text.lower().replace("’", "'")
    words: list[str] = []
    open_word = False
    for index, char in enumerate(text):
        following = text[index + 1 : index + 2]
        if is_han(char):
            words.append(char)
            open_word = False
        elif is_letter(char):
            words[len(words) - open_word :] = [(words[-1] if open_word else "") + char]
            open_word = True
        elif open_word and (belongs(char) or (char == "'" and is_letter(following))):
            words[-1] += char
        else:
            open_word = False
    return words


def is_han(char: str) -> bool:
    blocks = ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
    return any(first <= ord(char) <= last for first, last in (*blocks, (0x20000, 0x323AF)))


def is_letter(char: str) -> bool:
    return char.isalnum() and not is_han(char)


def belongs(char: str) -> bool:
    return unicodedata.category(char)[0] == "M" or char in "\u00ad\u200c\u200d"


@given(text=ANY)
def test_split_words_agrees_with_a_slow_version(text):
    text = text.replace("<", " ")
    assert split_words(text) == split_slowly(text)


@given(text=ANY)
def test_punctuation_adds_tokens_of_one_character_and_changes_no_word(text):
    every = split_words(text, punctuation=True)
    marks = [
        token for token in every if len(token) == 1 and not is_letter(token) and not is_han(token)
    ]
    assert split_words(text) == [token for token in every if token not in marks]
    assert not any(mark.isspace() for mark in marks)
    assert all(every)


def test_the_classes_hold_all_of_their_categories():
    """Beyond the ranges that are looked through there is no such character."""
    for categories in (("Mn", "Mc", "Me"), ("Cc", "Cf")):
        known = {
            code
            for code in range(sys.maxunicode + 1)
            if unicodedata.category(chr(code)) in categories
        }
        pattern = words_module.re.compile(f"[{words_module._of_categories(*categories)}]")
        assert {code for code in range(sys.maxunicode + 1) if pattern.match(chr(code))} == known


@pytest.mark.parametrize("repeated", ["a'", "<br ", "\u0301", "'"])
def test_no_text_takes_long(repeated):
    start = time.process_time()
    split_words("a" + repeated * 100_000, punctuation=True)
    assert time.process_time() - start < 2  # milliseconds; a quadratic one would take minutes


# ---------------------------------------------------------------- vocabulary

TEXTS = [["b", "a", "c"], ["a", "b", "a"], ["d"], []]  # a 3, b 2, c 1, d 1


def test_the_most_frequent_come_first_and_ties_in_order_of_appearance():
    vocabulary = WordVocabulary.from_words(TEXTS)
    assert vocabulary.words == ("a", "b", "c", "d")
    assert len(vocabulary) == 6
    assert [vocabulary.decode(id) for id in range(6)] == ["<pad>", "<unk>", "a", "b", "c", "d"]


@pytest.mark.parametrize(("size", "words"), [(3, "a"), (4, "ab"), (5, "abc"), (99, "abcd")])
def test_size_counts_all_ids(size, words):
    vocabulary = WordVocabulary.from_words(iter(map(iter, TEXTS)), size=size)
    assert vocabulary.words == tuple(words)
    assert len(vocabulary) <= size


@pytest.mark.parametrize(("min_count", "words"), [(1, "abcd"), (2, "ab"), (3, "a"), (4, "")])
def test_min_count(min_count, words):
    assert WordVocabulary.from_words(TEXTS, min_count=min_count).words == tuple(words)


def test_encode_and_decode():
    vocabulary = WordVocabulary(("film", "夜"))
    ids = vocabulary.encode(["夜", "film", "song", "", "<pad>"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [3, 2, 1, 1, 1]
    assert vocabulary.encode(iter([])).shape == (0,)
    assert vocabulary.encode([]).dtype == np.int64
    assert [vocabulary.decode(id) for id in ids[:3]] == ["夜", "film", "<unk>"]
    for id in (-1, 4):
        with pytest.raises(ValueError, match="0 to 3"):
            vocabulary.decode(id)


@given(texts=st.lists(st.lists(st.text(max_size=3))))
def test_any_words_come_through_json(texts):
    vocabulary = WordVocabulary.from_words(texts)
    counts = Counter(word for text in texts for word in text if word)
    assert set(vocabulary.words) == set(counts)
    times = [counts[word] for word in vocabulary.words]
    assert times == sorted(times, reverse=True)
    again = WordVocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    for text in texts:
        ids = again.encode(text)
        assert [again.decode(id) for id in ids] == [word or "<unk>" for word in text]


@pytest.mark.parametrize(
    "data",
    [None, {}, "ab", ["a", "a"], ["a", ""], ["a", 1], [None], [["a"]], ["x" * 1001], {"a": 1}, 3],
    ids=repr,
)
def test_damaged_json_is_refused(data):
    with pytest.raises(CorpusError, match="the vocabulary is not a list of at most"):
        WordVocabulary.from_json(data)


def test_json_is_bounded(monkeypatch):
    monkeypatch.setattr(words_module, "MAX_WORDS", 2)
    assert WordVocabulary.from_words(TEXTS).words == ("a", "b")
    assert WordVocabulary.from_json(["a", "b"]).words == ("a", "b")
    with pytest.raises(CorpusError):
        WordVocabulary.from_json(["a", "b", "c"])
    assert WordVocabulary.from_words([["x" * 1001, "y" * 1000]]).words == ("y" * 1000,)


def test_arguments_out_of_range():
    with pytest.raises(UsageError, match="at least 3, not 2"):
        WordVocabulary.from_words(TEXTS, size=2)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        WordVocabulary.from_words(TEXTS, min_count=0)


# ---------------------------------------------------------------- the letters of a word


@pytest.mark.parametrize(
    ("word", "normal", "shape"),
    [
        ("Boston", "boston", "Xxx"),
        ("BOSTON", "boston", "XX"),
        ("DC-10", "dc-00", "XX-dd"),
        ("9:30", "0:00", "d:dd"),
        ("1,000,000", "0,000,000", "d,dd,dd"),
        ("McDonald's", "mcdonald's", "XxXxx'x"),
        ("st.", "st.", "xx."),
        ("....", "....", ".."),
        ("夜行列车", "夜行列车", "夜行列车"),
        ("٣", "0", "d"),
        ("É", "é", "X"),
        ("x²", "x²", "x²"),
        ("a\n\n\n", "a\n\n\n", "x\n\n"),
        ("", "", ""),
    ],
)
def test_normal_form_and_shape(word, normal, shape):
    assert normalise_word(word) == normal
    assert word_shape(word) == shape


@given(word=st.text(max_size=20))
def test_forms_of_any_word(word):
    assert normalise_word(normalise_word(word)) == normalise_word(word)
    shape = word_shape(word)
    assert len(shape) <= len(word)
    assert not any(a == b == c for a, b, c in zip(shape, shape[1:], shape[2:], strict=False))


def test_ngrams():
    """<am> has the 3-grams <am and am>, and the 4-gram <am>."""
    grams = [b"<am", b"am>", b"<am>"]
    assert ngram_ids("am", (3, 4), 1000) == [zlib.crc32(gram) % 1000 for gram in grams]
    assert ngram_ids("am", range(5, 7), 1000) == []
    assert ngram_ids("", [2], 7) == [zlib.crc32(b"<>") % 7]
    assert ngram_ids("am", [3], 1) == [0, 0]


def test_ngrams_are_the_same_on_every_machine():
    """CRC-32 of "123456789" is 0xcbf43926, as in every table of checksums."""
    assert zlib.crc32(b"123456789") == 0xCBF43926
    assert ngram_ids("夜行", [2], 2**20) == [142540, 626531, 150384]


@given(word=st.text(max_size=12), n=st.integers(1, 6), buckets=st.integers(1, 50))
def test_any_word_has_its_ngrams(word, n, buckets):
    ids = ngram_ids(word, [n], buckets)
    assert len(ids) == max(0, len(word) + 3 - n)
    assert all(0 <= id < buckets for id in ids)
