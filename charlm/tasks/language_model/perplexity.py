"""Cross-entropy of a model on a sequence, every predicted character weighted the same."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state
from charlm.tasks.language_model.model import LanguageModel, cross_entropy_sum
from charlm.training.loss import LossSum

ROW_LENGTH = 2048  # characters scored in one row
WARM_UP = 512  # characters that a row reads before the scored ones
CHUNK = 4_000_000  # the largest number of logits in memory at once


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    ids: Tensor,
    *,
    row_length: int | None = ROW_LENGTH,
    warm_up: int = WARM_UP,
    should_stop: Callable[[], bool] = lambda: False,
) -> LossSum:
    """The loss on ``ids[1:]``: each character is predicted from the characters before it.

    A long text is cut into rows, which are read in parallel. Each row starts from a zero state
    and first reads the ``warm_up`` characters before its first scored one, or all of them if there
    are fewer. The rest of the text before the row is ignored.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) int64 on the model's device, N >= 2.
        row_length: characters scored in one row; None: a single row, which is exact but slow.
        should_stop: called before each chunk.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
        ValueError: there are fewer than two characters.
    """
    count = len(ids) - 1
    if count < 1:
        raise ValueError("a text of fewer than two characters cannot be scored")
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
            if begin <= 0:  # a row whose warm-up would start before the text still has a zero state
                state = map_state(functools.partial(_keep, starts + begin > 0), state)
            steps = torch.arange(begin, end, device=ids.device).unsqueeze(1)  # (T, 1)
            positions = (starts + steps).clamp(0, count - 1)  # (T, rows)
            logits, state = model(ids[positions], state)
            if begin >= 0:
                scored = starts + steps < count  # false after the end of the text
                nats += float(cross_entropy_sum(logits[scored], ids[positions + 1][scored]))
    return LossSum(nats, count)


def _keep(rows: Tensor, tensor: Tensor) -> Tensor:
    """A (B, H) tensor with zeros in the rows where the (B,) mask ``rows`` is false."""
    return torch.where(rows.unsqueeze(1), tensor, 0)
