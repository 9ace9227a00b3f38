"""What a tagger reads of sentences, and what it predicts, however they are batched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from charlm.config import TaggingConfig
from charlm.corpus.slots import TaggerVocabulary, parts_of
from charlm.corpus.tagged_sentences import TaggedSentence
from charlm.corpus.words import WordVocabulary
from charlm.errors import Stopped
from charlm.evaluation.spans import score_spans
from charlm.evaluation.tagging import Sentences, predict_tags, tags_of, words_of
from charlm.models.build import build_tagger

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
    """Of random weights, far enough from each other that it finds every tag."""
    made = build_tagger(config, VOCABULARY).double()
    nn.init.normal_(made.head.weight)
    return made


# What is read


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


def test_how_many_there_are(read):
    assert len(read) == 5
    assert read.lengths.tolist() == [4, 1, 7, 2, 2]


def test_where_nothing_is_seen_of_a_word_there_are_no_parts():
    config = TaggingConfig.from_settings([{"corpus": {"ngrams": [], "buckets": 20}}]).corpus
    read = Sentences(SENTENCES, VOCABULARY, config, CPU)
    assert set(read.inputs(torch.tensor([0, 2])).parts.flatten().tolist()) == {20}


def test_words_and_tags_of_sentences():
    tagged = [TaggedSentence(("to", "boston"), ("O", "B-a")), TaggedSentence(("x",), ("O",))]
    assert words_of(tagged) == [("to", "boston"), ("x",)]
    assert tags_of(tagged) == [("O", "B-a"), ("O",)]


# What is predicted


def test_the_most_probable_tags(model, read):
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


def test_no_sentence_has_no_tags(model, config):
    none = Sentences([], VOCABULARY, config.corpus, CPU)
    assert len(none) == 0
    assert predict_tags(model, none, VOCABULARY.tags) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(model, read, training):
    """In its mode, with its weights, and with no draw from the generator of dropout."""
    model.train(training)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    first = predict_tags(model, read, VOCABULARY.tags)
    assert first == predict_tags(model, read, VOCABULARY.tags)
    with pytest.raises(Stopped):
        predict_tags(model, read, VOCABULARY.tags, should_stop=lambda: True)
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(weights[name], each) for name, each in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_is_asked_before_each_batch(model, read):
    asked = []

    def should_stop():
        asked.append(len(asked))
        return len(asked) == 3

    with pytest.raises(Stopped):
        predict_tags(model, read, VOCABULARY.tags, rows=2, should_stop=should_stop)
    assert asked == [0, 1, 2]
    asked[:] = range(10)
    assert len(predict_tags(model, read, VOCABULARY.tags, rows=2, should_stop=should_stop)) == 5
    assert len(asked) == 13  # three batches of two, two and one


def test_tags_that_the_model_cannot_know_are_missed(model, read):
    """They stay in the count of what there was to find."""
    found = predict_tags(model, read, VOCABULARY.tags)
    gold = [["B-new", *tags[1:]] for tags in found]
    scores = score_spans(gold, found)
    assert scores.kinds["new"].gold == 5
    assert scores.kinds["new"].found == scores.kinds["new"].correct == 0
    assert scores.overall.recall < 100
