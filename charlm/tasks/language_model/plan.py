"""The settings that suit a text, the time for it, and the machine.

``charlm train`` merges them over the defaults and under everything that the user gives. The
measurements behind the rules are in docs/plan.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from charlm.config import Settings
from charlm.tasks.language_model.config import (
    LanguageModelConfig,
    LanguageModelSection,
    LanguageTrainingSection,
)

MANY = 256  # characters in a vocabulary; more: most of them are rare
LONG = 500_000  # characters in the train split; fewer are overfitted before they are learned
SHORT = 50_000  # fewer are overfitted at once
FEW_PASSES = 4.2  # through a long text; with more, two layers learn more than one and n-grams
ORDER = 5  # characters in the longest n-gram that has an embedding

SIZES = range(128, 1025, 64)  # hidden units that are planned
LARGEST_FOR_SHORT = 384  # hidden units for fewer than LONG characters
SEEN_PER_WEIGHT = 5.5  # characters of training for each recurrent weight
USED = 0.9  # of the budget of minutes, for steps
EFFICIENCY = 0.57  # of the speed of the layers alone, in a whole step
# Probabilities of dropout on input, output and recurrent weights, by the least number of passes
# through a long text.
LONG_DROPOUTS = {24: (0.05, 0.4, 0.2), 14: (0.0, 0.3, 0.1), 8: (0.0, 0.2, 0.05), 0: (0.0, 0.1, 0.0)}
# The same for a text of fewer characters, but at least SHORT. A shorter one is always overfitted.
MIDDLE_DROPOUTS = {
    34: (0.0, 0.5, 0.3),
    28: (0.0, 0.4, 0.3),
    16: (0.0, 0.3, 0.3),
    12: (0.0, 0.2, 0.1),
    0: (0.0, 0.1, 0.0),
}
MIDDLE_RATES = {28: 0.01, 16: 0.015, 0: 0.02}  # the learning rates of such a text
# It has two layers if they can read it this often, with the largest of these sizes that can.
MIDDLE_PASSES, MIDDLE_SIZES = 16, (256, 320)

Value = TypeVar("Value")


class Text(NamedTuple):
    """What the plan needs to know of a text."""

    train_characters: int
    vocabulary_size: int
    train_lines: int | None = None  # where lines are examples

    @property
    def is_long(self) -> bool:
        """Whether it takes many passes to overfit it."""
        return self.train_characters > LONG

    @property
    def has_many(self) -> bool:
        """Whether it has so many different characters that most of them are rare."""
        return self.vocabulary_size > MANY


def planned_settings(
    text: Text,
    given: LanguageModelConfig,
    *,
    sized: bool = False,
    layered: bool = False,
    tuned: bool = False,
    speed: float | None = None,
    device: str = "cpu",
) -> Settings:
    """Settings that suit a text better than the defaults.

    Args:
        given: the defaults with everything that the user has set.
        sized: whether the user has set the number of hidden units.
        layered: whether the user has set the number of layers or the connections between them.
        tuned: whether the user has set the optimiser, the learning rate or the clipping norm, or
            starts with trained weights.
        speed: as of `charlm.speed.training_speed`; None: no size is planned.
        device: the type of the device. N-grams were tried on the CPU only.
    """
    # What was fitted for a running text of few different characters.
    usual = (
        not text.has_many
        and text.train_lines is None
        and given.model.embedding == "learned"
        and given.training.optimiser == "adamw"
    )
    seen = None  # characters that the training sees, times the recurrent weights
    if given.training.minutes is not None and speed is not None:
        seen = 60 * given.training.minutes * USED * EFFICIENCY * speed / 6

    def fitted(network: LanguageModelSection) -> tuple[LanguageModelSection, float]:
        """The network with as many units as there is time for, and the passes through the text."""
        if seen is not None and not sized:
            largest = SIZES[-1] if text.is_long else LARGEST_FOR_SHORT
            sizes = (size for size in SIZES if size <= largest)
            networks = [dataclasses.replace(network, hidden_size=size) for size in sizes]
            wanted = math.sqrt(seen / SEEN_PER_WEIGHT)
            network = min(networks, key=lambda each: abs(_recurrent_weights(each) - wanted))
            weights = min(wanted, _recurrent_weights(networks[-1]))  # so that sizes make no jumps
        else:
            weights = _recurrent_weights(network)
        return network, passes_of(weights)

    def passes_of(weights: float) -> float:
        passes = float(given.training.epochs or math.inf)
        return passes if seen is None else min(passes, seen / weights / text.train_characters)

    network, passes = fitted(given.model)
    # What was fitted for a short text.
    short = (
        text.train_lines is None and not text.is_long and not tuned and given.model.cell == "lstm"
    )
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    if text.has_many:
        model["embedding"] = "tied"
    if usual:
        model |= {"activation": 1.0, "temporal_activation": 0.5}
    if usual and text.is_long:
        if passes < FEW_PASSES and device == "cpu":
            model |= {"ngram_order": ORDER, "ngram_dropout": round(min(0.2 * passes, 0.4), 1)}
        elif not sized and not layered:
            model |= {"num_layers": 2, "skip": True}
            network, passes = fitted(dataclasses.replace(network, num_layers=2, skip=True))
        # In few updates, weights that are drawn to zero do not get far from it.
        training["weight_decay"] = round(min(0.02 * passes, 0.1), 2)
    elif usual and short and text.train_characters < SHORT:
        training["lr"] = 0.01
    elif usual and short:
        model["embedding_dropout"] = 0.05
        doubled = dataclasses.replace(network, num_layers=2, skip=True)
        networks = [dataclasses.replace(doubled, hidden_size=size) for size in MIDDLE_SIZES]
        often = [(each, passes_of(_recurrent_weights(each))) for each in networks]
        often = [each for each in often if each[1] >= MIDDLE_PASSES]
        if often and not sized and not layered:
            model |= {"num_layers": 2, "skip": True}
            training["weight_decay"] = 0.1
            network, passes = often[-1]
        training["lr"] = _by_passes(MIDDLE_RATES, passes)
    elif text.has_many and short and given.model.ngram_order == 1:
        # The steps of Adam do not depend on the size of a gradient, so they push the probability of
        # a character that is hardly ever seen much too low.
        model |= {"activation": 2.0, "temporal_activation": 1.0, "embedding_dropout": 0.15}
        training |= {"optimiser": "sgd", "lr": 20.0, "clip_norm": 0.5}
        if text.train_characters < SHORT:
            training |= {"lr": 10.0, "batch_size": 4}  # or there are too few updates
    model |= {"hidden_size": network.hidden_size, **_dropouts(text, passes)}
    if text.train_lines is not None:
        # A batch of short lines has more of them: as many as fill half a batch of a running text,
        # but at least 50 batches in an epoch. Short lines also take longer per character.
        default = LanguageTrainingSection()
        characters = default.batch_size * default.seq_len // 2
        as_many = characters * text.train_lines // text.train_characters
        training["batch_size"] = max(default.batch_size, min(as_many, text.train_lines // 50))
    return {"model": model, "training": training}


def _recurrent_weights(network: LanguageModelSection) -> int:
    """The weights in the matrices of LSTM layers; a character takes six operations for each."""
    from charlm.models.build import embedding_size

    size, embedded = network.hidden_size, embedding_size(network)
    above = size + (embedded if network.skip else 0)  # what a layer above the first reads
    layers = size + embedded + (network.num_layers - 1) * (size + above)
    return 4 * size * layers


def _by_passes(values: Mapping[int, Value], passes: float) -> Value:
    """The value of the first number of passes that is reached; they fall."""
    return next(value for fewest, value in values.items() if passes >= fewest)


def _dropouts(text: Text, passes: float) -> dict[str, float]:
    """The probabilities of dropout.

    A short text is overfitted sooner. So is a text with many distinct characters, such as Chinese,
    because most of them are rare. A training that sees each part of a long text only a few times is
    only slowed down by dropout.
    """
    if text.train_lines is not None and text.train_characters > 200_000:
        of_input, of_output, of_weights = 0.0, 0.1, 0.0
    elif not text.is_long and (text.has_many or text.train_characters < SHORT):
        of_input, of_output, of_weights = 0.4 if text.has_many else 0.2, 0.6, 0.5
    elif text.train_lines is not None:
        of_input, of_output, of_weights = 0.05, 0.5, 0.3
    else:
        of_input, of_output, of_weights = _by_passes(
            LONG_DROPOUTS if text.is_long else MIDDLE_DROPOUTS, passes
        )
    return {
        "input_dropout": of_input,
        "dropout": of_output if text.is_long and text.train_lines is None else 0.3,
        "output_dropout": of_output,
        "weight_dropout": of_weights,
    }
