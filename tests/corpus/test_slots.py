"""Tagged sentences as ids: what is seen of a word, the vocabulary, and what is damaged of it."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

import pytest

from charlm.config import SlotsConfig
from charlm.corpus.tagged_sentences import MAX_CHARACTERS, MAX_TAGS
from charlm.corpus.slots import TaggerVocabulary, load_slots, parts_of
from charlm.corpus.words import WordVocabulary
from charlm.errors import CorpusError

TRAIN = (
    "from Boston to boston|O B-from O B-to",
    "flights at 9:30|O O B-time",
    "flights at 18:15|O O B-time",
    "leave BOSTON|O B-from",
)
VALID = ("to denver|O B-valid-only",)
TEST = ("stay in denver|O O B-test-only",)


def write_pairs(folder: Path, **splits) -> Path:
    for split, rows in splits.items():
        (folder / split).mkdir(parents=True)
        for number, name in enumerate(("seq.in", "seq.out")):
            lines = "".join(row.split("|")[number] + "\n" for row in rows)
            (folder / split / name).write_text(lines, "utf-8")
    return folder


def write_columns(folder: Path, **splits) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        sentences = [zip(*(part.split() for part in row.split("|")), strict=True) for row in rows]
        text = "\n".join(
            "".join(f"{word} -X- {tag}\n" for word, tag in sentence) for sentence in sentences
        )
        (folder / f"{split}.txt").write_text(text, "utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "data", train=TRAIN, valid=VALID, test=TEST)


def bucket(text: str, buckets: int) -> int:
    return crc32(text.encode()) % buckets


# What is seen of a word


@pytest.mark.parametrize(
    ("word", "ngrams", "seen"),
    [
        ("to", (2,), ["<t", "to", "o>"]),
        ("to", (2, 3, 4), ["<t", "to", "o>", "<to", "to>", "<to>"]),
        ("TO", (3,), ["<to", "to>"]),
        ("9:30", (3,), ["<0:", "0:0", ":00", "00>"]),
        ("a", (4,), []),
        ("a", (3, 1), ["<a>", "<", "a", ">"]),
        ("Ürümqi", (7,), ["<ürümqi", "ürümqi>"]),
        ("to", (), []),
    ],
)
@pytest.mark.parametrize("buckets", [1, 10, 2000])
def test_the_ngrams_of_a_word(word, ngrams, seen, buckets):
    config = SlotsConfig(ngrams=ngrams, buckets=buckets)
    assert parts_of(word, config) == [bucket(each, buckets) for each in seen]


@pytest.mark.parametrize(
    ("word", "shape"),
    [("Boston", "Xxx"), ("DC-10", "XX-dd"), ("a", "x"), ("9:30", "d:dd"), ("ABCD", "XX")],
)
def test_the_shape_is_one_part_more(word, shape):
    config = SlotsConfig(ngrams=(2,), shapes=True, buckets=1000)
    plain = parts_of(word, SlotsConfig(ngrams=(2,), buckets=1000))
    assert parts_of(word, config) == [*plain, bucket(f"<shape {shape}>", 1000)]
    alone = SlotsConfig(ngrams=(), shapes=True, buckets=1000)
    assert parts_of(word, alone) == [bucket(f"<shape {shape}>", 1000)]


def test_the_hash_is_the_same_everywhere():
    """The numbers themselves: weights that were trained on one machine mean the same on all."""
    config = SlotsConfig(ngrams=(2, 3), shapes=True, buckets=2000)
    assert parts_of("Go", config) == [1627, 774, 1404, 623, 52, 688]


def test_every_part_is_a_bucket():
    config = SlotsConfig(ngrams=(1, 2, 3, 4, 5), shapes=True, buckets=3)
    for word in ("", "a", "\ud800", "\0", "x" * 1000, "分开", "İstanbul"):
        assert set(parts_of(word, config)) <= {0, 1, 2}


# The vocabulary


def test_case_and_digits_do_not_tell_words_apart(folder):
    vocabulary = load_slots(SlotsConfig(source=str(folder))).vocabulary
    # boston three times, flights and at twice; 9:30 and 18:15 are not as long as each other.
    assert vocabulary.words.words == ("boston", "flights", "at")
    assert len(vocabulary) == 5
    assert vocabulary.encode_words(["BOSTON", "boston", "Flights", "from"]).tolist() == [2, 2, 3, 1]


def test_how_often_a_word_must_be_there(folder):
    for count, size in ((1, 8), (2, 3), (3, 1), (4, 0)):
        words = load_slots(SlotsConfig(source=str(folder), min_count=count)).vocabulary.words.words
        assert len(words) == size
    words = load_slots(SlotsConfig(source=str(folder), min_count=1)).vocabulary.words
    assert {"0:00", "00:00"} < set(words.words)
    assert "denver" not in words.words  # it is in no train sentence


def test_tags_are_those_of_train_and_valid(folder):
    slots = load_slots(SlotsConfig(source=str(folder)))
    tags = slots.vocabulary.tags
    assert tags == ("O", "B-from", "B-time", "B-to", "B-valid-only")
    assert slots.vocabulary.encode_tags(["B-to", "O", "B-test-only"]) == [3, 0, -1]
    assert slots.notices == ("tags only in the test split, which a model cannot learn: 1",)


def test_both_layouts_are_the_same_data(tmp_path):
    splits = {"train": TRAIN, "valid": VALID, "test": TEST}
    pairs = load_slots(SlotsConfig(source=str(write_pairs(tmp_path / "pairs", **splits))))
    columns = load_slots(SlotsConfig(source=str(write_columns(tmp_path / "columns", **splits))))
    assert pairs.vocabulary == columns.vocabulary
    assert pairs.split_sizes == columns.split_sizes == (4, 1, 1)
    assert pairs.data.splits == columns.data.splits
    assert pairs.describe()["sha256"] == columns.describe()["sha256"]


def test_what_run_json_says_of_it(folder):
    slots = load_slots(SlotsConfig(source=str(folder)))
    assert slots.describe() == {
        "name": "data",
        "source": str(folder),
        "sha256": slots.data.sha256,
        "split": [4, 1, 1],
    }
    assert (slots.name, slots.source) == ("data", str(folder))


def test_a_part_of_the_train_sentences_is_held_out(tmp_path):
    folder = write_pairs(tmp_path / "data", train=TRAIN)
    slots = load_slots(SlotsConfig(source=str(folder), valid=0.5))
    assert slots.split_sizes == (2, 2, 0)
    assert len(slots.vocabulary.tags) == 4  # of both


def test_real_atis(corpora):
    """The counts of the paper's files (Goo et al. 2018)."""
    if not (corpora / "atis").is_dir():
        pytest.skip(f"needs atis in $CHARLM_CORPORA, {corpora}")
    slots = load_slots(SlotsConfig(), corpora)
    assert slots.split_sizes == (4478, 500, 893)
    tags = slots.vocabulary.tags
    assert len(tags) == 121
    assert tags[0] == "O"
    assert len(load_slots(SlotsConfig(min_count=1), corpora).vocabulary) > len(slots.vocabulary)
    words = [word for sentence in slots.data.splits["train"] for word in sentence.words]
    known = slots.vocabulary.encode_words(words) != 1
    assert 0.98 < known.mean() < 1


# There and back


def test_a_vocabulary_goes_through_json_and_back(folder):
    for count in (1, 2, 4):  # with the last, there is no word
        config = SlotsConfig(source=str(folder), min_count=count)
        vocabulary = load_slots(config).vocabulary
        text = json.dumps(vocabulary.to_json())
        assert TaggerVocabulary.from_json(json.loads(text)) == vocabulary


GOOD = {"words": ["to", "boston"], "tags": ["O", "B-city"]}
DAMAGED = {
    "nothing": None,
    "a list": ["to"],
    "no object": 3,
    "words alone": {"words": ["to"]},
    "tags alone": {"tags": ["O"]},
    "one key more": {**GOOD, "labels": []},
    "no tags": {**GOOD, "tags": []},
    "tags of something else": {**GOOD, "tags": "O"},
    "tags by name": {**GOOD, "tags": {"O": 0}},
    "a number among the tags": {**GOOD, "tags": ["O", 3]},
    "no tag": {**GOOD, "tags": ["O", "city"]},
    "an empty kind": {**GOOD, "tags": ["O", "B-"]},
    "an empty tag": {**GOOD, "tags": ["O", ""]},
    "a tag twice": {**GOOD, "tags": ["O", "B-a", "B-a"]},
    "a tag too long": {**GOOD, "tags": ["O", "B-" + "a" * MAX_CHARACTERS]},
    "too many tags": {**GOOD, "tags": [f"B-{index}" for index in range(MAX_TAGS + 1)]},
    "a word twice": {**GOOD, "words": ["to", "to"]},
    "an empty word": {**GOOD, "words": ["to", ""]},
    "a number among the words": {**GOOD, "words": ["to", 3]},
    "words of something else": {**GOOD, "words": "to"},
    "lists within the words": {**GOOD, "words": [["to"]]},
    "a word too long": {**GOOD, "words": ["a" * (MAX_CHARACTERS + 1)]},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_vocabulary_is_refused(name):
    with pytest.raises(CorpusError) as caught:
        TaggerVocabulary.from_json(DAMAGED[name])
    for line in (caught.value.message, caught.value.hint):
        assert line.isprintable()
        assert len(line) < 200


def test_what_is_just_small_enough_is_taken():
    data = {
        "words": ["a" * MAX_CHARACTERS],
        "tags": ["O", "B-" + "a" * (MAX_CHARACTERS - 2), *(f"I-{n}" for n in range(MAX_TAGS - 2))],
    }
    assert TaggerVocabulary.from_json(data).to_json() == data
    assert TaggerVocabulary.from_json({"words": [], "tags": ["O"]}) == TaggerVocabulary(
        WordVocabulary(()), ("O",)
    )
