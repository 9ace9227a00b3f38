"""A text one character at a time, with what the model might have written in its place.

Letters in the shape comments: V vocabulary, K alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from charlm.corpus.vocabulary import UNKNOWN
from charlm.tasks.language_model.decoding import Decoding, choices, read_prefix
from charlm.tasks.language_model.model import LanguageModel

if TYPE_CHECKING:
    from charlm.tasks.language_model.mixture import Mixture

ALTERNATIVES = 10  # characters of each distribution that are kept
BLOCK = 256  # characters of the prefix that are read at once


class Step(NamedTuple):
    """A character, and the most probable characters at its place, most probable first.

    If the character is none of them, it comes after them. ``1 - sum(drawn)`` and ``1 - sum(own)``
    belong to all other characters.
    """

    token: int  # id of the character
    likely: list[int]  # K ids
    drawn: list[float]  # K probabilities that it was drawn from; 0: filtered out
    own: list[float]  # K probabilities of the model itself: temperature 1, no top-k, no top-p


def steps(
    model: LanguageModel,
    prefix: Sequence[int],
    *,
    decoding: Decoding,
    seed: int,
    mixture: Mixture | None = None,
) -> Iterator[Step | None]:
    """Continue a prefix, without end. The characters are those of `generate` with this seed.

    Args:
        prefix: token ids, at least one.
        mixture: of the model and an n-gram, which then chooses the characters; None: the model.

    Yields:
        None after each block of the prefix, so that a caller can stop early; then each `Step`.

    Raises:
        RunError: a logit is not finite.
    """
    for after in read_prefix(model, prefix, BLOCK):
        logits, state = after
        yield None
    contexts = None if mixture is None else [mixture.start(prefix)]
    generator = torch.Generator().manual_seed(seed)
    growing = choices(model, logits, state, decoding, generator, mixture, contexts)
    for odds, chosen in growing:
        yield _step(odds.cpu(), int(chosen), decoding)


def _step(odds: Tensor, token: int, decoding: Decoding) -> Step:
    """The step of (1, V) logits and the id that was chosen."""
    known = odds[0].double()
    own = known.softmax(0)
    known = known.clone()
    known[UNKNOWN] = -torch.inf  # it is not a character, and its share is one of the others'
    likely = known.argsort(descending=True, stable=True)[: min(ALTERNATIVES, len(known) - 1)]
    if token not in likely:
        likely = torch.cat([likely, torch.tensor([token])])
    drawn = decoding.probabilities(odds)[0]
    return Step(token, likely.tolist(), drawn[likely].tolist(), own[likely].tolist())
