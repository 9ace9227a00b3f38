"""The settings that suit a text, the time for it, and the machine."""

from __future__ import annotations

import pytest
import torch

from charlm.speed import training_speed
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.plan import SIZES, Text, planned_settings

LAPTOP = 2.8e11  # operations per second
NOVEL, PLAYS = Text(153_522, 28), Text(1_003_854, 66)


def planned(text: Text, *, speed: float | None = LAPTOP, sized: bool = False, **training):
    """The configuration that is planned for a text, with some settings of the user."""
    settings = [{"training": training}] if training else []
    given = LanguageModelConfig.from_settings(settings)
    suited = planned_settings(text, given, sized=sized, speed=speed)
    return LanguageModelConfig.from_settings([suited, *settings])


@pytest.mark.parametrize(
    ("text", "embedding", "dropouts"),
    [
        (Text(28_000, 60), "learned", (0.2, 0.6, 0.5)),
        (Text(49_999, 256), "learned", (0.2, 0.6, 0.5)),
        (Text(50_000, 256), "learned", (0.05, 0.5, 0.3)),
        (NOVEL, "learned", (0.05, 0.5, 0.3)),
        (Text(57_000, 2583), "tied", (0.4, 0.6, 0.5)),
        (Text(6_000, 793), "tied", (0.4, 0.6, 0.5)),
        (PLAYS, "learned", (0.0, 0.1, 0.0)),
        (Text(5_000_000, 4000), "tied", (0.0, 0.1, 0.0)),
    ],
)
def test_dropout_suits_the_length_and_the_vocabulary(text, embedding, dropouts):
    model = planned(text).model
    assert model.embedding == embedding
    assert (model.input_dropout, model.output_dropout, model.weight_dropout) == dropouts


@pytest.mark.parametrize(
    ("characters", "lines", "batch_size"),
    [
        (235_634, 28_800, 62),  # half as many characters as in 16 rows of 64
        (800, 100, 16),  # at least as many rows as with a running text
        (8_000, 2000, 40),  # at least 50 batches in an epoch
        (5_000_000, 4000, 16),
    ],
)
def test_short_lines_make_larger_batches(characters, lines, batch_size):
    config = planned(Text(characters, 28, lines))
    assert config.training.batch_size == batch_size
    assert (config.model.weight_dropout == 0) == (characters > 200_000)
    assert planned(Text(characters, 28)).training.batch_size == 16


def test_more_time_and_a_faster_machine_make_a_larger_network():
    sizes = [planned(PLAYS, minutes=minutes).model.hidden_size for minutes in (0.3, 1, 3, 10, 30)]
    assert sizes == sorted(set(sizes))
    assert set(sizes) <= set(SIZES)
    faster = planned(PLAYS, minutes=3, speed=10 * LAPTOP).model.hidden_size
    assert faster == sizes[-1]  # ten times the speed is ten times the time
    assert planned(NOVEL, minutes=30).model.hidden_size == 384


def test_a_size_that_is_given_and_a_training_by_epochs_keep_their_size():
    usual = LanguageModelConfig().model.hidden_size
    assert planned(PLAYS, minutes=30, sized=True).model.hidden_size == usual
    assert planned(PLAYS, epochs=3).model.hidden_size == usual
    assert planned(PLAYS, minutes=30, speed=None).model.hidden_size == usual


def test_a_long_text_that_is_read_a_few_times_has_ngrams():
    models = [planned(PLAYS, epochs=epochs).model for epochs in (1, 2, 3, 40)]
    assert [model.ngram_order for model in models] == [5, 5, 1, 1]
    assert [model.ngram_dropout for model in models] == [0.1, 0.2, 0.0, 0.0]
    assert planned(NOVEL, epochs=1).model.ngram_order == 1
    assert planned(PLAYS, minutes=0.5).model.ngram_order == 5
    assert planned(PLAYS, minutes=10).model.ngram_order == 1


@pytest.mark.parametrize(
    "settings",
    [{"model": {"embedding": "one-hot"}}, {"training": {"optimiser": "sgd"}}],
    ids=["one-hot", "sgd"],
)
def test_no_ngrams_where_they_cannot_be_had(settings):
    few = {"training": {"epochs": 1, **settings.get("training", {})}}
    given = LanguageModelConfig.from_settings([{**settings, **few}])
    suited = planned_settings(PLAYS, given)
    assert LanguageModelConfig.from_settings([suited, settings]).model.ngram_order == 1
    assert planned(Text(5_000_000, 2583), epochs=1).model.ngram_order == 1  # tied
    on_a_card = planned_settings(PLAYS, given, device="cuda")
    assert "ngram_order" not in on_a_card["model"]


def test_the_speed_is_that_of_some_machine_and_nothing_is_drawn():
    state = torch.get_rng_state()
    assert 1e6 < training_speed(torch.device("cpu"), bfloat16=False, seconds=0.0) < 1e16
    assert torch.equal(torch.get_rng_state(), state)
