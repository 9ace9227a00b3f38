"""Scores of a classifier by hand, and logits in batches of any size."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.corpus.words import WordVocabulary
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.model import build_classifier
from charlm.tasks.classification.reviews import ReviewVocabulary
from charlm.tasks.classification.scores import ClassScores, batch_inputs, class_logits, class_scores
from charlm.tasks.sequences import Sequences

VOCABULARY = ReviewVocabulary(WordVocabulary(tuple("abcdefgh")), ("bad", "fair", "good"))


def model_of(**settings):
    layer = {"corpus": {"length": 9}, "model": {"hidden_size": 4, "buckets": 50, **settings}}
    return build_classifier(ClassificationConfig.from_settings([layer]), VOCABULARY).double()


@pytest.fixture
def sequences() -> Sequences:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 10, (37,), generator=generator).tolist()
    parts = [torch.randint(1, 10, (length,), generator=generator) for length in lengths]
    return Sequences(parts, torch.device("cpu"))


def test_scores_by_hand():
    # The true labels are 0, 0, 1, 1, 1, 2 and the predicted ones 0, 1, 1, 1, 0, 1.
    places, labels = (0, 1, 1, 1, 0, 1), (0, 0, 1, 1, 1, 2)
    logits = torch.zeros(6, 3)
    logits[torch.arange(6), torch.tensor(places)] = math.log(2)
    scores = class_scores(logits, labels)
    assert scores.confusion == ((1, 1, 0), (1, 2, 0), (0, 1, 0))
    assert scores.count == 6
    assert scores.accuracy == 50
    assert scores.majority == 50
    # The probabilities are 2/4, 1/4 and 1/4: the right label has 2/4 in three texts, else 1/4.
    assert scores.nats == pytest.approx(3 * math.log(2) + 3 * math.log(4))
    assert scores.loss == pytest.approx(1.5 * math.log(2))
    assert scores.of_label(0) == (50, 50, 50)
    assert scores.of_label(1) == pytest.approx((50, 200 / 3, 400 / 7))
    assert scores.of_label(2) == (0, 0, 0)


def test_all_right_and_all_wrong():
    right = class_scores(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), [0, 1])
    assert (right.accuracy, right.majority) == (100, 50)
    assert right.of_label(0) == right.of_label(1) == (100, 100, 100)
    wrong = class_scores(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), [1, 0])
    assert wrong.accuracy == 0
    assert wrong.of_label(0) == (0, 0, 0)
    assert wrong.loss == pytest.approx(9 + math.log1p(math.exp(-9)))


def test_equal_logits_are_the_first_label():
    assert class_scores(torch.zeros(2, 2), [0, 1]).confusion == ((1, 0), (1, 0))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_scores_are_those_of_counting(pairs):
    """Each score by its definition."""
    labels, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = class_scores(torch.eye(4)[predicted], labels)
    right = sum(label == found for label, found in pairs)
    assert scores.accuracy == pytest.approx(100 * right / len(pairs))
    assert scores.majority == pytest.approx(100 * max(map(labels.count, range(4))) / len(pairs))
    for label in range(4):
        both = pairs.count((label, label))
        precision = 100 * both / predicted.count(label) if predicted.count(label) else 0
        recall = 100 * both / labels.count(label) if labels.count(label) else 0
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0
        assert scores.of_label(label) == pytest.approx((precision, recall, f1))
        assert [scores.confusion[label][other] for other in range(4)] == [
            pairs.count((label, other)) for other in range(4)
        ]


def test_loss_that_overflows_is_infinite():
    scores = class_scores(torch.tensor([[0.0, math.inf], [0.0, 1.0]]), [0, 1])
    assert scores.loss == math.inf
    assert ClassScores(1.0, ((1,),)).loss == 1


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("padding", ["before", "after"])
def test_logits_do_not_depend_on_the_batches(sequences, skip, padding):
    model = model_of(skip_padding=skip, padding=padding, features="all")
    expected = class_logits(model, sequences)
    assert expected.shape == (37, 3)
    for rows in (1, 2, 5, 37, 1000):
        found = class_logits(model, sequences, rows=rows)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    # The logits are in the order of the texts.
    model.eval()
    for row in range(37):
        (alone,) = model(*batch_inputs(model, sequences, torch.tensor([row])))
        torch.testing.assert_close(expected[row], alone.detach().float(), rtol=0, atol=1e-6)


def test_inputs_of_a_classifier(sequences):
    rows = torch.tensor([3, 1])
    longest = int(sequences.lengths[rows].max())
    inputs, lengths = batch_inputs(model_of(), sequences, rows)
    assert inputs.shape == (longest, 2)
    assert torch.equal(lengths, sequences.lengths[rows])
    for padding in ("before", "after"):
        model = model_of(skip_padding=False, padding=padding)
        inputs, lengths = batch_inputs(model, sequences, rows)
        assert inputs.shape == (9, 2)
        assert torch.equal(lengths, sequences.lengths[rows])
        end = 0 if padding == "before" else -1
        short = int(lengths.argmin())
        assert int(inputs[end, short]) == 0
        assert int(inputs[-1 - end, short]) > 0
