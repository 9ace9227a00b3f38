"""Preparing the prefix that a model continues."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from charlm.corpus import Vocabulary, clean
from charlm.errors import UsageError, shown
from charlm.tasks.language_model.lines import BOUNDARY

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.tasks.language_model.model import LanguageModel

_BLANK_LINES = 0.005  # the least probability of a second line end in a text with blank lines
_MOST_DESCRIBED = 10  # characters in a notice


@dataclass(frozen=True)
class Prefix:
    """A cleaned and encoded prefix, with notices for the user."""

    text: str  # the prefix after the corpus's cleaning
    ids: tuple[int, ...]  # token ids; a character that is not in the vocabulary has the id of <unk>
    notices: tuple[str, ...]  # what was changed or unknown, one line each


def prepare_prefix(
    prefix: str, cleaning: str, vocabulary: Vocabulary, *, lines: bool = False
) -> Prefix:
    """The prefix, cleaned as the corpus was and encoded.

    With ``lines`` it is the start of a line, so it may be empty, and its ids begin with the line
    end before it.

    Raises:
        UsageError: nothing is left of the prefix, or it is to start a line but has more than one.
    """
    if lines and BOUNDARY in prefix:
        raise UsageError(
            f"the prefix {shown(prefix)} has a line end, but this model writes single lines",
            "give the start of one line",
        )
    text = clean(prefix, cleaning)
    if not text and not lines:
        left = "is empty" if not prefix else f"has nothing left after the cleaning {cleaning!r}"
        raise UsageError(f"the prefix {prefix!r} {left}", "give --prefix some characters")
    notices = []
    if text != prefix:
        notices.append(f"the prefix was cleaned as the corpus was ({cleaning}): {shown(text)}")
    notices += unknown_notices(text, vocabulary)
    read = BOUNDARY + text if lines else text
    return Prefix(text, tuple(vocabulary.encode(read).tolist()), tuple(notices))


def unknown_notices(text: str, vocabulary: Vocabulary) -> list[str]:
    """A line about the characters that are not in the vocabulary, if there are any."""
    unknown = vocabulary.unknown_characters(text)
    if not unknown:
        return []
    more = len(unknown) - _MOST_DESCRIBED
    return [
        "not in the vocabulary, the model reads <unk> instead: "
        + describe_characters(unknown[:_MOST_DESCRIBED])
        + (f" and {more:,} more" if more > 0 else "")
    ]


def text_start(run: Run, model: LanguageModel, prefix: str) -> Prefix:
    """The prefix that a run's model continues; an empty one begins a new text or line.

    Raises:
        UsageError: as in `prepare_prefix`.
    """
    lines = run.config.corpus.lines
    if prefix or lines:
        return prepare_prefix(prefix, run.corpus["cleaning"], run.vocabulary, lines=lines)
    sample = next(chain(run.config.training.prefixes, run.vocabulary.characters), "")
    return start_prefix(model, run.vocabulary, sample)


def start_prefix(model: LanguageModel, vocabulary: Vocabulary, sample: str) -> Prefix:
    """An empty prefix, after which the model begins a text.

    The model has to read at least one character before it predicts one. It reads what stands
    before the start of a text: a blank line if the model expects one after a line end now and
    then; else a line end; in a vocabulary without line ends a space; without spaces the first
    character of ``sample``. None of it is part of the text.
    """
    characters = set(vocabulary.characters)
    before = next((each for each in "\n " if each in characters), sample[:1])
    ids = tuple(vocabulary.encode(before).tolist())
    if before == "\n" and _next_probability(model, ids, ids[0]) >= _BLANK_LINES:
        ids *= 2
    return Prefix("", ids, ())


def _next_probability(model: LanguageModel, ids: tuple[int, ...], token: int) -> float:
    """The probability of a token after others, which the model reads from a zero state."""
    import torch

    from charlm.models.recurrent_model import evaluating

    read = torch.tensor(ids, device=model.head.weight.device).unsqueeze(1)
    with evaluating(model), torch.no_grad():
        logits, _ = model(read, model.initial_state(1))
    return float(logits[-1, 0].softmax(0)[token])


def describe_characters(characters: Iterable[str]) -> str:
    """The characters with their code points and Unicode names, separated by commas."""
    return ", ".join(
        f"{character!r} U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
        for character in characters
    )
