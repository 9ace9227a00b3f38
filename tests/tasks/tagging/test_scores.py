"""The inputs of a tagger and the tags it predicts, in batches of any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from charlm.corpus.words import WordVocabulary
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.model import build_tagger
from charlm.tasks.tagging.scores import Sentences, predict_tags, tags_of, words_of
from charlm.tasks.tagging.slots import TaggerVocabulary, parts_of
from charlm.tasks.tagging.spans import score_spans
from charlm.tasks.tagging.tagged_sentences import TaggedSentence

CPU = torch.device("cpu")
WORDS = ("from", "to", "boston", "dallas")
VOCABULARY = TaggerVocabulary(WordVocabulary(WORDS), ("O", "B-a", "I-a", "B-b"))
SENTENCES = [
    ["from", "Boston", "to", "Dallas"],
    ["oakland"],
    ["to", "to", "BOSTON", "9:30", "8:15", "unseen", "from"],
    ["boston", "to"],
    ["from", "here"],
]


@pytest.fixture
def config():
    return TaggingConfig.from_settings(
        [{"corpus": {"buckets": 20, "shapes": True}, "model": {"hidden_size": 6}}]
    )


@pytest.fixture
def read(config):
    return Sentences(SENTENCES, VOCABULARY, config.corpus, CPU)


@pytest.fixture
def model(config):
    """A model with large random weights, so that it predicts every tag."""
    made = build_tagger(config, VOCABULARY).double()
    nn.init.normal_(made.head.weight)
    return made


# Inputs


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [2], [1], [4, 0], [3, 3]])
def test_each_word_has_its_id_and_its_own_parts(config, read, rows):
    words, lengths, parts, places = read.inputs(torch.tensor(rows))
    steps = max(len(SENTENCES[row]) for row in rows)
    assert words.shape == places.shape == (steps, len(rows))
    assert lengths.tolist() == [len(SENTENCES[row]) for row in rows]
    for column, row in enumerate(rows):
        for step, word in enumerate(SENTENCES[row]):
            known = word.lower() in WORDS
            assert words[step, column] == (WORDS.index(word.lower()) + 2 if known else 1)
            seen = parts[places[step, column]].tolist()
            assert [part for part in seen if part != 20] == parts_of(word, config.corpus)
    # Words that differ by case alone have an id in common, but not their shape.
    assert len(parts) <= len({word for row in rows for word in SENTENCES[row]}) + 1


def test_number_and_lengths_of_sentences(read):
    assert len(read) == 5
    assert read.lengths.tolist() == [4, 1, 7, 2, 2]


def test_words_without_parts_have_padding():
    config = TaggingConfig.from_settings([{"corpus": {"ngrams": [], "buckets": 20}}]).corpus
    read = Sentences(SENTENCES, VOCABULARY, config, CPU)
    assert set(read.inputs(torch.tensor([0, 2])).parts.flatten().tolist()) == {20}


def test_words_and_tags_of_sentences():
    tagged = [TaggedSentence(("to", "boston"), ("O", "B-a")), TaggedSentence(("x",), ("O",))]
    assert words_of(tagged) == [("to", "boston"), ("x",)]
    assert tags_of(tagged) == [("O", "B-a"), ("O",)]


# Predictions


def test_most_probable_tags(model, read):
    expected = []
    model.eval()
    for row, sentence in enumerate(SENTENCES):
        best = model(read.inputs(torch.tensor([row])))[:, 0].argmax(1)
        assert len(best) == len(sentence)
        expected.append([VOCABULARY.tags[index] for index in best])
    assert predict_tags(model, read, VOCABULARY.tags) == expected
    assert len({tag for tags in expected for tag in tags}) > 2


@pytest.mark.parametrize("rows", [1, 2, 3, 256])
def test_size_and_order_of_batches_change_nothing(model, config, read, rows):
    expected = predict_tags(model, read, VOCABULARY.tags)
    assert predict_tags(model, read, VOCABULARY.tags, rows=rows) == expected
    order = [3, 1, 4, 0, 2]
    other = Sentences([SENTENCES[row] for row in order], VOCABULARY, config.corpus, CPU)
    found = predict_tags(model, other, VOCABULARY.tags, rows=rows)
    assert found == [expected[row] for row in order]


def test_no_sentences(model, config):
    none = Sentences([], VOCABULARY, config.corpus, CPU)
    assert len(none) == 0
    assert predict_tags(model, none, VOCABULARY.tags) == []


def test_unknown_gold_tags_count_as_missed(model, read):
    """They stay in the number of gold spans."""
    found = predict_tags(model, read, VOCABULARY.tags)
    gold = [["B-new", *tags[1:]] for tags in found]
    scores = score_spans(gold, found)
    assert scores.kinds["new"].gold == 5
    assert scores.kinds["new"].found == scores.kinds["new"].correct == 0
    assert scores.overall.recall < 100
