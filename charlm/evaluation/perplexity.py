"""Cross-entropy of a model on a sequence, every predicted character weighted the same."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.errors import Stopped
from charlm.models.language_model import LanguageModel, cross_entropy_sum
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state

ROW_LENGTH = 2048  # characters that one row scores
WARM_UP = 512  # characters that a row reads before those it scores
CHUNK = 4_000_000  # logits held at once


@dataclass(frozen=True)
class LossSum:
    """A sum of cross-entropies and how many there are; divided once, at the end."""

    nats: float
    count: int

    def __add__(self, other: LossSum) -> LossSum:
        """Both together."""
        return LossSum(self.nats + other.nats, self.count + other.count)

    @property
    def nats_per_char(self) -> float:
        """Mean cross-entropy in nats."""
        return self.nats / self.count

    @property
    def bits_per_char(self) -> float:
        """Mean cross-entropy in bits."""
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of the mean cross-entropy; infinite where it overflows."""
        return perplexity(self.nats_per_char)


def perplexity(nats_per_char: float) -> float:
    """exp of a mean cross-entropy in nats; infinite where it overflows."""
    try:
        return math.exp(nats_per_char)
    except OverflowError:
        return math.inf


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    ids: Tensor,
    *,
    row_length: int | None = ROW_LENGTH,
    warm_up: int = WARM_UP,
    should_stop: Callable[[], bool] = lambda: False,
) -> LossSum:
    """Score ``ids[1:]``, each given all that stands before it.

    The state is carried from the first character, which starts from zeros. A long sequence is
    cut into rows that run side by side; each row but the first reads the ``warm_up`` characters
    before its own first, which stands in for all that came earlier; or all that came earlier,
    where that is less.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) int64 on the model's device, N >= 2.
        row_length: characters scored by a row; None: a single row, the exact and slow twin.
        warm_up: characters.
        should_stop: asked before each chunk.

    Raises:
        Stopped: ``should_stop`` said so; the model is as it was.
        ValueError: fewer than two characters.
    """
    count = len(ids) - 1
    if count < 1:
        raise ValueError("nothing to predict: it takes two characters at least")
    rows = 1 if row_length is None else -(-count // row_length)
    length = -(-count // rows)
    starts = torch.arange(rows, device=ids.device) * length  # (rows,)
    state = model.initial_state(rows)
    nats = 0.0
    chunk = max(1, CHUNK // (rows * model.vocabulary_size))
    first = -min(warm_up, (rows - 1) * length)
    begins = {*range(first, 0, chunk), *range(0, length, chunk), *range(0, first, -length)}
    with evaluating(model):
        for begin, end in itertools.pairwise([*sorted(begins), length]):
            if should_stop():
                raise Stopped
            if (
                begin <= 0
            ):  # some rows have read what is not there: they are before the first character
                state = map_state(functools.partial(_keep, starts + begin > 0), state)
            steps = torch.arange(begin, end, device=ids.device).unsqueeze(1)  # (T, 1)
            positions = (starts + steps).clamp(0, count - 1)  # (T, rows)
            logits, state = model(ids[positions], state)
            if begin >= 0:
                scored = starts + steps < count  # all but the end of the last row
                nats += float(cross_entropy_sum(logits[scored], ids[positions + 1][scored]))
    return LossSum(nats, count)


def _keep(rows: Tensor, tensor: Tensor) -> Tensor:
    """(B, H) with zeros in all rows but those that (B,) ``rows`` is true for."""
    return torch.where(rows.unsqueeze(1), tensor, 0)
