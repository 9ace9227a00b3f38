"""The settings that suit a text, the time for it, and the machine.

``charlm train`` merges them over the defaults and under everything that the user gives. The
measurements behind the rules are in docs/plan.md.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from charlm.config import Settings
from charlm.optimisation.optimisers import OPTIMISERS
from charlm.tasks.language_model.config import LanguageModelConfig, LanguageTrainingSection

MANY = 256  # characters in a vocabulary; more: most of them are rare
LONG = 500_000  # characters in the train split; fewer are overfitted before they are learned
SHORT = 50_000  # fewer are overfitted at once
FEW_PASSES = 3  # through a long text; with more, the layers learn more without n-grams
ORDER = 5  # characters in the longest n-gram that has an embedding

SIZES = range(128, 1025, 64)  # hidden units that are planned
LARGEST_FOR_SHORT = 384  # hidden units for fewer than LONG characters
SEEN_PER_WEIGHT = 4.5  # characters of training for each recurrent weight
USED = 0.9  # of the budget of minutes, for steps
EFFICIENCY = 0.6  # of the speed of the layers alone, in a whole step


class Text(NamedTuple):
    """What the plan needs to know of a text."""

    train_characters: int
    vocabulary_size: int
    train_lines: int | None = None  # where lines are examples


def planned_settings(
    text: Text,
    given: LanguageModelConfig,
    *,
    sized: bool = False,
    speed: float | None = None,
    device: str = "cpu",
) -> Settings:
    """Settings that suit a text better than the defaults.

    Args:
        given: the defaults with everything that the user has set.
        sized: whether the user has set the number of hidden units.
        speed: as of `charlm.speed.training_speed`; None: no size is planned.
        device: the type of the device. N-grams were tried on the CPU only.
    """
    size = given.model.hidden_size
    if speed is not None and not sized and given.training.minutes is not None:
        size = _hidden_size(text, given, speed)
    passes = _passes(text, given, size, speed)
    model: dict[str, Any] = {"hidden_size": size, **_dropouts(text, passes)}
    if text.vocabulary_size > MANY:
        model |= {"embedding": "tied"}
    elif (
        text.train_characters > LONG
        and passes < FEW_PASSES
        and text.train_lines is None
        and given.model.embedding == "learned"
        and device == "cpu"
        and OPTIMISERS[given.training.optimiser].tables
    ):
        model |= {"ngram_order": ORDER, "ngram_dropout": round(0.1 * passes, 1)}
    if text.train_lines is None:
        return {"model": model}
    # A batch of short lines has more of them: as many as fill half a batch of a running text, but
    # at least 50 batches in an epoch. Short lines also take longer per character.
    usual = LanguageTrainingSection()
    as_many = usual.batch_size * usual.seq_len // 2 * text.train_lines // text.train_characters
    batch_size = max(usual.batch_size, min(as_many, text.train_lines // 50))
    return {"model": model, "training": {"batch_size": batch_size}}


def _hidden_size(text: Text, given: LanguageModelConfig, speed: float) -> int:
    """The number of units whose weights see ``SEEN_PER_WEIGHT`` characters each in the budget.

    With G H (H + E) recurrent weights, a character takes 6 G H (H + E) operations.
    """
    operations = 60 * (given.training.minutes or 0) * USED * EFFICIENCY * speed
    layers = given.model.num_layers
    weights = math.sqrt(operations / (6 * SEEN_PER_WEIGHT)) / (4 * layers)  # about H^2 + E H
    wanted = math.sqrt(weights + 32**2) - 32
    largest = SIZES[-1] if text.train_characters > LONG else LARGEST_FOR_SHORT
    return min(SIZES, key=lambda size: abs(size - min(wanted, largest)))


def _passes(text: Text, given: LanguageModelConfig, size: int, speed: float | None) -> float:
    """About how many times the training reads its text."""
    training = given.training
    passes = float(training.epochs or math.inf)
    if training.minutes is not None and speed is not None:
        weights = 4 * size * (size + 64) * given.model.num_layers
        characters = 60 * training.minutes * USED * EFFICIENCY * speed / (6 * weights)
        passes = min(passes, characters / text.train_characters)
    return passes


def _dropouts(text: Text, passes: float) -> dict[str, float]:
    """The probabilities of dropout.

    A short text is overfitted sooner. So is a text with many distinct characters, such as Chinese,
    because most of them are rare. A training that sees each part of a long text only a few times is
    only slowed down by dropout.
    """
    many = text.vocabulary_size > MANY
    if text.train_lines is None and text.train_characters > LONG and passes >= 8:
        of_input, of_output, of_weights = 0.05, 0.2, 0.2
    elif text.train_characters > (LONG if text.train_lines is None else 200_000):
        of_input, of_output, of_weights = 0.0, 0.1, 0.0
    elif many or text.train_characters < SHORT:
        of_input, of_output, of_weights = 0.4 if many else 0.2, 0.6, 0.5
    else:
        of_input, of_output, of_weights = 0.05, 0.5, 0.3
    return {
        "input_dropout": of_input,
        "output_dropout": of_output,
        "weight_dropout": of_weights,
    }
