"""The settings that suit a text, the time for it, and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from charlm.speed import training_speed
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.plan import SIZES, Text, planned_settings

LAPTOP = 2.8e11  # operations per second
NOVEL, PLAYS = Text(153_522, 28), Text(1_003_854, 66)


def planned(
    text: Text,
    *,
    speed: float | None = LAPTOP,
    sized: bool = False,
    layered: bool = False,
    tuned: bool = False,
    model: Mapping[str, Any] = {},
    **training: Any,
) -> LanguageModelConfig:
    """The configuration that is planned for a text, with some settings of the user."""
    settings = [{"model": model, "training": training}]
    given = LanguageModelConfig.from_settings(settings)
    suited = planned_settings(text, given, sized=sized, layered=layered, tuned=tuned, speed=speed)
    return LanguageModelConfig.from_settings([suited, *settings])


@pytest.mark.parametrize(
    ("text", "embedding", "dropouts"),
    [
        (Text(28_000, 60), "learned", (0.2, 0.6, 0.5)),
        (Text(49_999, 256), "learned", (0.2, 0.6, 0.5)),
        (Text(50_000, 256), "learned", (0.0, 0.4, 0.3)),
        (NOVEL, "learned", (0.0, 0.3, 0.3)),
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
    models = [planned(PLAYS, minutes=minutes).model for minutes in (0.3, 1, 3, 10, 30)]
    units = [model.hidden_size * model.num_layers for model in models]
    assert units == sorted(set(units))
    sizes = [model.hidden_size for model in models]
    assert set(sizes) <= set(SIZES)
    faster = planned(PLAYS, minutes=3, speed=10 * LAPTOP).model.hidden_size
    assert faster == sizes[-1]  # ten times the speed is ten times the time
    story = Text(28_000, 60)
    assert planned(story, minutes=30).model.hidden_size == 384


def test_a_size_that_is_given_and_a_training_by_epochs_keep_their_size():
    usual = LanguageModelConfig().model.hidden_size
    assert planned(PLAYS, minutes=30, sized=True).model.hidden_size == usual
    assert planned(PLAYS, epochs=3).model.hidden_size == usual
    assert planned(PLAYS, minutes=30, speed=None).model.hidden_size == usual


def test_a_long_text_has_two_layers_with_skip_connections():
    planned_for = planned(PLAYS, minutes=10)
    model, training = planned_for.model, planned_for.training
    assert (model.num_layers, model.skip, model.residual) == (2, True, False)
    assert (model.activation, model.temporal_activation) == (1.0, 0.5)
    assert training.weight_decay == 0.1
    for short in (Text(28_000, 60), Text(5_000_000, 4000), Text(5_000_000, 60, 10_000)):
        assert planned(short).model.num_layers == 1
        assert planned(short).training.weight_decay == LanguageModelConfig().training.weight_decay


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ({"sized": True}, {}),
        ({"layered": True}, {}),
        ({}, {"model": {"embedding": "one-hot"}}),
        ({}, {"model": {"embedding": "tied"}}),
        ({}, {"optimiser": "sgd"}),
    ],
)
def test_a_network_that_is_given_keeps_its_layers(flags, settings):
    found = planned(PLAYS, **flags, **{**settings, "epochs": 9})
    assert (found.model.num_layers, found.model.skip) == (1, False)
    assert (found.model.activation > 0) == bool(flags)
    few = planned(PLAYS, **flags, **{**settings, "epochs": 1})
    assert (few.model.ngram_order > 1) == bool(flags)


def test_the_learning_rate_and_the_dropout_of_a_novel_follow_its_passes():
    found = [planned(NOVEL, epochs=epochs) for epochs in (3, 12, 16, 28, 40)]
    assert [each.training.lr for each in found] == [0.02, 0.02, 0.015, 0.01, 0.01]
    assert [each.model.output_dropout for each in found] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [each.model.weight_dropout for each in found] == [0.0, 0.1, 0.3, 0.3, 0.3]
    assert {each.model.activation for each in found} == {1.0}
    assert planned(Text(28_000, 60), epochs=3).training.lr == 0.01


def test_a_novel_has_two_layers_if_they_can_read_it_often_enough():
    found = [planned(NOVEL, minutes=minutes).model for minutes in (1, 2, 3, 10)]
    assert [(each.num_layers, each.hidden_size) for each in found[1:]] == [
        (2, 256),
        *[(2, 320)] * 2,
    ]
    assert [each.skip for each in found] == [False, True, True, True]
    assert planned(NOVEL, epochs=15).model.num_layers == 1
    assert planned(NOVEL, epochs=40).model.hidden_size == 320
    for flags in ({"sized": True}, {"layered": True}, {"tuned": True}):
        assert planned(NOVEL, minutes=2, **flags).model.num_layers == 1


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ({"tuned": True}, {}),
        ({}, {"model": {"cell": "gru"}}),
        ({}, {"model": {"ngram_order": 2, "embedding": "learned"}}),
    ],
)
def test_sgd_is_for_an_lstm_with_many_characters_that_nobody_tuned(flags, settings):
    songs, default = Text(57_000, 2583), LanguageModelConfig().training
    training = planned(songs).training
    assert (training.optimiser, training.lr, training.clip_norm) == ("sgd", 20.0, 0.5)
    song = planned(Text(6_000, 793)).training
    assert (song.lr, song.batch_size) == (10.0, 4)
    for found in (
        planned(songs, **flags, **settings),
        planned(Text(57_000, 2583, 3_000)),
        planned(Text(5_000_000, 2583)),
    ):
        assert (found.training.optimiser, found.training.lr) == ("adamw", default.lr)
        assert found.model.activation == 0
    if "model" not in settings or "cell" in settings["model"]:
        assert planned(NOVEL, **flags, **settings).training.lr == default.lr


def test_more_passes_through_a_long_text_have_more_dropout():
    models = [planned(PLAYS, epochs=epochs).model for epochs in (1, 8, 14, 24)]
    assert [model.output_dropout for model in models] == [0.1, 0.2, 0.3, 0.4]
    assert [model.dropout for model in models] == [0.1, 0.2, 0.3, 0.4]
    assert [model.weight_dropout for model in models] == [0.0, 0.05, 0.1, 0.2]


def test_a_long_text_that_is_read_a_few_times_has_ngrams():
    few = [planned(PLAYS, epochs=epochs) for epochs in (1, 3, 5, 40)]
    assert [each.model.ngram_order for each in few] == [5, 5, 1, 1]
    assert [each.model.ngram_dropout for each in few] == [0.2, 0.4, 0.0, 0.0]
    assert [each.model.num_layers for each in few] == [1, 1, 2, 2]
    assert [each.training.weight_decay for each in few] == [0.02, 0.06, 0.1, 0.1]
    assert planned(NOVEL, epochs=1).model.ngram_order == 1
    assert planned(PLAYS, minutes=0.3).model.ngram_order == 5
    assert planned(PLAYS, minutes=10).model.ngram_order == 1
    given = LanguageModelConfig.from_settings([{"training": {"epochs": 1}}])
    on_a_card = planned_settings(PLAYS, given, device="cuda")
    assert "ngram_order" not in on_a_card["model"]


def test_the_speed_is_that_of_some_machine_and_nothing_is_drawn():
    state = torch.get_rng_state()
    assert 1e6 < training_speed(torch.device("cpu"), bfloat16=False, seconds=0.0) < 1e16
    assert torch.equal(torch.get_rng_state(), state)
