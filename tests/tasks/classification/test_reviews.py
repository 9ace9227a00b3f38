"""Labelled texts as ids."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus import Vocabulary
from charlm.corpus.words import WordVocabulary, split_words
from charlm.errors import CorpusError
from charlm.tasks.classification.config import LabelledTextsSection
from charlm.tasks.classification.labelled_texts import MAX_LABELS
from charlm.tasks.classification.reviews import ReviewVocabulary, load_reviews, tokens_of

WORDS = ReviewVocabulary(WordVocabulary(("the", "film", "good", "bad")), ("neg", "pos"))
CHARACTERS = ReviewVocabulary(Vocabulary(tuple("好片坏 film")), ("no", "yes"))
BY_CHARACTER = LabelledTextsSection(tokens="characters")
ROWS = [
    *((f"a good film number {number}", "pos") for number in range(20)),
    *((f"a bad film number {number}", "neg") for number in range(20)),
]


def config(**settings) -> LabelledTextsSection:
    return LabelledTextsSection(**{"source": "texts.jsonl", **settings})


@pytest.fixture
def texts(clean_surroundings):
    """A file of forty texts in the working folder."""
    with open("texts.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": t, "label": label}) + "\n" for t, label in ROWS)


# Texts to ids


def test_words_are_ids_and_others_are_unknown():
    assert WORDS.encode("The GOOD film, bad??? ending", LabelledTextsSection()).tolist() == [
        2,
        4,
        3,
        5,
        1,
    ]
    assert (len(WORDS), WORDS.unknown) == (6, 1)


def test_punctuation_is_left_out_or_taken_for_words():
    vocabulary = ReviewVocabulary(WordVocabulary(("good", "!")), ("a", "b"))
    assert vocabulary.encode("Good!!", LabelledTextsSection()).tolist() == [2]
    assert vocabulary.encode("Good!!", LabelledTextsSection(punctuation=True)).tolist() == [2, 3, 3]


@pytest.mark.parametrize("text", ["", " \n\t", "...", "<br />"])
def test_text_without_a_word_is_one_unknown(text):
    ids = WORDS.encode(text, LabelledTextsSection())
    assert ids.tolist() == [1]
    assert ids.dtype == "int64"


@pytest.mark.parametrize(("cut", "kept"), [("before", [4, 5]), ("after", [2, 3])])
def test_longer_text_is_cut_at_one_side(cut, kept):
    settings = LabelledTextsSection(length=2, cut=cut)
    assert WORDS.encode("the film good bad", settings).tolist() == kept
    assert WORDS.encode("the film", settings).tolist() == [2, 3]
    assert WORDS.encode("bad", settings).tolist() == [5]


def test_characters_of_any_script():
    ids = CHARACTERS.encode("好片! film", BY_CHARACTER)
    assert ids.tolist() == [1, 2, 0, 4, 5, 6, 7, 8]
    assert CHARACTERS.unknown == 0
    assert CHARACTERS.encode("", BY_CHARACTER).tolist() == [0]
    short = LabelledTextsSection(tokens="characters", length=2)
    assert CHARACTERS.encode("坏坏好片", short).tolist() == [1, 2]


def test_characters_go_through_the_cleaning():
    letters = LabelledTextsSection(tokens="characters", cleaning="letters")
    assert tokens_of("A  Film!", letters) == "a film"
    assert tokens_of("A  Film!", LabelledTextsSection(tokens="characters")) == "A  Film!"
    assert tokens_of("A  Film!", LabelledTextsSection()) == ["a", "film"]


def test_chinese_words_are_characters_too():
    assert tokens_of("这部 film 很好。", LabelledTextsSection()) == ["这", "部", "film", "很", "好"]


@given(st.text(max_size=80), st.sampled_from(["before", "after"]), st.integers(1, 90))
def test_known_tokens_are_decoded_exactly(text, cut, length):
    def kept(tokens):
        return tokens[-length:] if cut == "before" else tokens[:length]

    words = split_words(text)
    known = ReviewVocabulary(WordVocabulary.from_words([words]), ("a", "b"))
    ids = known.encode(text, LabelledTextsSection(length=length, cut=cut))
    assert [known.tokens.decode(int(id)) for id in ids] == (kept(words) or ["<unk>"])
    known = ReviewVocabulary(Vocabulary.from_text(text), ("a", "b"))
    ids = known.encode(text, LabelledTextsSection(tokens="characters", length=length, cut=cut))
    assert known.tokens.decode(ids) == (kept(text) or "\ufffd")


# The vocabulary as JSON


@pytest.mark.parametrize("vocabulary", [WORDS, CHARACTERS], ids=["words", "characters"])
def test_json_and_back(vocabulary):
    again = ReviewVocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    assert type(again.tokens) is type(vocabulary.tokens)


LABELS = ["neg", "pos"]


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        {},
        "words",
        3,
        {"words": ["a"]},
        {"labels": LABELS},
        {"tokens": [], "labels": LABELS},
        {"words": ["a"], "labels": ["pos"]},
        {"words": ["a"], "labels": []},
        {"words": ["a"], "labels": ["pos", "pos"]},
        {"words": ["a"], "labels": "np"},
        {"words": ["a"], "labels": {"neg": 0, "pos": 1}},
        {"words": ["a"], "labels": ["neg", 1]},
        {"words": ["a"], "labels": ["neg", ["pos"]]},
        {"words": ["a"], "labels": ["neg", None]},
        {"words": ["a"], "labels": [str(number) for number in range(MAX_LABELS + 1)]},
        {"words": ["a"], "characters": ["a"], "labels": LABELS},
        {"words": ["a", "a"], "labels": LABELS},
        {"words": [""], "labels": LABELS},
        {"words": ["a", 1], "labels": LABELS},
        {"words": "abc", "labels": LABELS},
        {"words": {"a": 1}, "labels": LABELS},
        {"words": None, "labels": LABELS},
        {"words": ["x" * 1001], "labels": LABELS},
        {"characters": ["ab"], "labels": LABELS},
        {"characters": ["a", "a"], "labels": LABELS},
        {"characters": [["a"]], "labels": LABELS},
    ],
    ids=lambda value: str(value)[:40],
)
def test_damaged_vocabulary_is_refused(damaged):
    with pytest.raises(CorpusError) as caught:
        ReviewVocabulary.from_json(damaged)
    for line in (caught.value.message, caught.value.hint):
        assert line.isprintable()


# From files


def test_loaded_with_the_vocabulary_of_the_train_split(texts):
    reviews = load_reviews(config())
    assert reviews.split_sizes == (32, 4, 4)
    assert reviews.vocabulary.labels == ("neg", "pos")
    of_train = [text.text for text in reviews.data.splits["train"]]
    counted = WordVocabulary.from_words(map(split_words, of_train))
    assert reviews.vocabulary.tokens == counted
    assert set(counted.words[:3]) == {"a", "film", "number"}
    for split in ("train", "valid", "test"):
        labels, ids = reviews.labels(split), reviews.ids(split)
        assert len(labels) == len(ids)
        for text, row, label in zip(reviews.data.splits[split], ids, labels, strict=True):
            assert row.dtype == "int32"
            assert row.tolist() == reviews.vocabulary.encode(text.text, config()).tolist()
            assert label == ("good" in text.text)
    assert reviews.ids("train") is reviews.ids("train")


def test_most_frequent_words_alone(texts):
    reviews = load_reviews(config(vocabulary_size=5))
    assert len(reviews.vocabulary) == 5
    assert set(reviews.vocabulary.tokens.words) == {"a", "film", "number"}
    assert {int(id) for row in reviews.ids("test") for id in row} == {1, 2, 3, 4}


def test_all_words_where_there_is_no_limit(texts):
    assert len(load_reviews(config(vocabulary_size=None)).vocabulary) == 2 + 5 + 19


def test_loaded_as_characters(texts):
    reviews = load_reviews(config(tokens="characters", length=12))
    assert isinstance(reviews.vocabulary.tokens, Vocabulary)
    assert reviews.vocabulary.tokens.decode(reviews.ids("train")[0]).startswith("ilm number ")
    assert {len(row) for row in reviews.ids("train")} == {12}


def test_vocabulary_that_is_given_stays_as_it_is(texts):
    reviews = load_reviews(config(), tokens=WORDS.tokens)
    assert reviews.vocabulary.tokens is WORDS.tokens
    assert reviews.ids("train")[0].tolist()[:3] == [1, 4, 3]


def test_describe(texts):
    reviews = load_reviews(config())
    about = reviews.describe()
    assert about.keys() == {"name", "source", "sha256", "split"}
    assert (about["name"], about["split"]) == ("texts", [32, 4, 4])
    assert (reviews.name, reviews.source) == ("texts", "texts.jsonl")
    assert any("held out 4" in notice for notice in reviews.notices)
    other = load_reviews(config(vocabulary_size=5, length=3)).describe()
    assert other == about
