"""Tagged sentences as ids."""

from __future__ import annotations

import json
from zlib import crc32

import pytest

from charlm.corpus.words import WordVocabulary
from charlm.errors import CorpusError
from charlm.tasks.tagging.config import TaggedSentencesSection
from charlm.tasks.tagging.slots import TaggerVocabulary, load_slots, parts_of
from charlm.tasks.tagging.tagged_sentences import MAX_CHARACTERS, MAX_TAGS

TRAIN = (
    "from Boston to boston|O B-from O B-to",
    "flights at 9:30|O O B-time",
    "flights at 18:15|O O B-time",
    "leave BOSTON|O B-from",
)
VALID = ("to denver|O B-valid-only",)
TEST = ("stay in denver|O O B-test-only",)


@pytest.fixture
def folder(tmp_path, write_tagged):
    return write_tagged(tmp_path / "data", train=TRAIN, valid=VALID, test=TEST)


def bucket(text: str, buckets: int) -> int:
    return crc32(text.encode()) % buckets


# Features of a word


@pytest.mark.parametrize("buckets", [1, 2000])
def test_ngrams_of_a_word(buckets):
    config = TaggedSentencesSection(ngrams=(3, 4), buckets=buckets)
    seen = ["<0:", "0:0", ":00", "00>", "<0:0", "0:00", ":00>"]
    assert parts_of("9:30", config) == [bucket(each, buckets) for each in seen]


@pytest.mark.parametrize(("word", "shape"), [("Boston", "Xxx"), ("DC-10", "XX-dd"), ("a", "x")])
def test_shape_is_one_more_part(word, shape):
    config = TaggedSentencesSection(ngrams=(2,), shapes=True, buckets=1000)
    plain = parts_of(word, TaggedSentencesSection(ngrams=(2,), buckets=1000))
    assert parts_of(word, config) == [*plain, bucket(f"<shape {shape}>", 1000)]
    alone = TaggedSentencesSection(ngrams=(), shapes=True, buckets=1000)
    assert parts_of(word, alone) == [bucket(f"<shape {shape}>", 1000)]


def test_hash_is_the_same_everywhere():
    """Weights trained on one machine must mean the same on another."""
    config = TaggedSentencesSection(ngrams=(2, 3), shapes=True, buckets=2000)
    assert parts_of("Go", config) == [1627, 774, 1404, 623, 52, 688]


def test_every_part_is_a_bucket():
    config = TaggedSentencesSection(ngrams=(1, 2, 3, 4, 5), shapes=True, buckets=3)
    for word in ("", "a", "\ud800", "\0", "x" * 1000, "分开", "İstanbul"):
        assert set(parts_of(word, config)) <= {0, 1, 2}


# The vocabulary


def test_case_and_digits_do_not_tell_words_apart(folder):
    vocabulary = load_slots(TaggedSentencesSection(source=str(folder))).vocabulary
    # boston three times, flights and at twice; 9:30 and 18:15 are not as long as each other.
    assert vocabulary.words.words == ("boston", "flights", "at")
    assert len(vocabulary) == 5
    assert vocabulary.encode_words(["BOSTON", "boston", "Flights", "from"]).tolist() == [2, 2, 3, 1]


def test_min_count(folder):
    for count, size in ((1, 8), (2, 3), (3, 1), (4, 0)):
        words = load_slots(
            TaggedSentencesSection(source=str(folder), min_count=count)
        ).vocabulary.words.words
        assert len(words) == size
    words = load_slots(TaggedSentencesSection(source=str(folder), min_count=1)).vocabulary.words
    assert {"0:00", "00:00"} < set(words.words)
    assert "denver" not in words.words  # it is in no train sentence


def test_tags_are_those_of_train_and_valid(folder):
    slots = load_slots(TaggedSentencesSection(source=str(folder)))
    tags = slots.vocabulary.tags
    assert tags == ("O", "B-from", "B-time", "B-to", "B-valid-only")
    assert slots.vocabulary.encode_tags(["B-to", "O", "B-test-only"]) == [3, 0, -1]
    assert slots.notices == ("tags only in the test split, which a model cannot learn: 1",)


def test_describe(folder):
    slots = load_slots(TaggedSentencesSection(source=str(folder)))
    assert slots.describe() == {
        "name": "data",
        "source": str(folder),
        "sha256": slots.data.sha256,
        "split": [4, 1, 1],
    }
    assert (slots.name, slots.source) == ("data", str(folder))


def test_part_of_the_train_sentences_is_held_out(tmp_path, write_tagged):
    folder = write_tagged(tmp_path, train=TRAIN)
    slots = load_slots(TaggedSentencesSection(source=str(folder), valid=0.5))
    assert slots.split_sizes == (2, 2, 0)
    assert len(slots.vocabulary.tags) == 4  # of both


def test_real_atis(atis):
    """The counts of the paper's files (Goo et al. 2018)."""
    slots = load_slots(TaggedSentencesSection(), atis)
    assert slots.split_sizes == (4478, 500, 893)
    assert len(slots.vocabulary.tags) == 121
    assert len(load_slots(TaggedSentencesSection(min_count=1), atis).vocabulary) > len(
        slots.vocabulary
    )
    words = [word for sentence in slots.data.splits["train"] for word in sentence.words]
    assert 0.98 < (slots.vocabulary.encode_words(words) != 1).mean() < 1


# JSON


def test_vocabulary_goes_through_json_and_back(folder):
    for count in (1, 2, 4):  # with the last, there is no word
        config = TaggedSentencesSection(source=str(folder), min_count=count)
        vocabulary = load_slots(config).vocabulary
        text = json.dumps(vocabulary.to_json())
        assert TaggerVocabulary.from_json(json.loads(text)) == vocabulary


GOOD = {"words": ["to", "boston"], "tags": ["O", "B-city"]}
DAMAGED = [
    None,
    ["to"],
    3,
    {"words": ["to"]},
    {"tags": ["O"]},
    {**GOOD, "labels": []},
    *(
        {**GOOD, "tags": tags}
        for tags in (
            [],
            "O",
            {"O": 0},
            ["O", 3],
            ["O", "a\x1b[2J"],
            ["O", ""],
            ["O", "B-a", "B-a"],
            ["O", "B-" + "a" * MAX_CHARACTERS],
            [f"B-{index}" for index in range(MAX_TAGS + 1)],
        )
    ),
    *(
        {**GOOD, "words": words}
        for words in (
            ["to", "to"],
            ["to", ""],
            ["to", 3],
            "to",
            [["to"]],
            ["a" * (MAX_CHARACTERS + 1)],
        )
    ),
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda value: str(value)[:50])
def test_damaged_vocabulary_is_refused(damaged):
    with pytest.raises(CorpusError) as caught:
        TaggerVocabulary.from_json(damaged)
    for line in (caught.value.message, caught.value.hint):
        assert line.isprintable()
        assert len(line) < 200


def test_vocabulary_at_the_limits():
    data = {
        "words": ["a" * MAX_CHARACTERS],
        "tags": ["O", "B-" + "a" * (MAX_CHARACTERS - 2), *(f"I-{n}" for n in range(MAX_TAGS - 2))],
    }
    assert TaggerVocabulary.from_json(data).to_json() == data
    assert TaggerVocabulary.from_json({"words": [], "tags": ["O"]}) == TaggerVocabulary(
        WordVocabulary(()), ("O",)
    )
