"""Cross-entropy of a model on a sequence, every predicted character weighted the same."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state
from charlm.tasks.language_model.batches import Lines, first_rows, id_tensor
from charlm.tasks.language_model.model import LanguageModel, cross_entropy_sum
from charlm.tasks.sequences import ROWS, length_batches
from charlm.training.loss import LossSum

ROW_LENGTH = 2048  # characters scored in one row
WARM_UP = 512  # characters that a row reads before the scored ones
WINDOW = 256  # characters scored from one zero state in nanoGPT's protocol
CHUNK = 4_000_000  # the largest number of logits in memory at once


@dataclass(frozen=True)
class TextLoss(LossSum):
    """The loss on a text; ``unknown`` is its part on characters that the vocabulary lacks."""

    unknown: LossSum

    @property
    def known(self) -> LossSum:
        """The part on characters of the vocabulary."""
        return LossSum(self.nats - self.unknown.nats, self.count - self.unknown.count)


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    ids: Tensor | NDArray[np.int64],
    *,
    row_length: int | None = ROW_LENGTH,
    warm_up: int = WARM_UP,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]``: each character is predicted from the characters before it.

    A long text is cut into rows, which are read in parallel. Each row starts from a zero state
    and first reads the ``warm_up`` characters before its first scored one, or all of them if there
    are fewer. The rest of the text before the row is ignored.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) int64, N >= 2: an array, or a tensor on the model's device.
        row_length: characters scored in one row; None: a single row, which is exact but slow.
        should_stop: called before each chunk.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
        ValueError: there are fewer than two characters.

    >>> run = charlm.open("novel")
    >>> loss = charlm.evaluate(run.load_model(), run.vocabulary.encode("The traveller sat down."))
    >>> loss.count
    22
    """
    nats, count, unknown = 0.0, 0, LossSum(0.0, 0)
    with evaluating(model):
        for _, logits, targets in _predictions(model, ids, row_length, warm_up, should_stop):
            nats += float(cross_entropy_sum(logits, targets))
            unknown += _unknown(logits, targets)
            count += len(targets)
    return TextLoss(nats, count, unknown)


@torch.no_grad()
def character_nats(model: LanguageModel, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The cross-entropy of each of ``ids[1:]``, (N - 1,), in nats; as in `evaluate`, N >= 1."""
    if len(ids) == 1:
        return np.empty(0)
    nats = np.empty(len(ids) - 1)
    every = _predictions(model, ids, ROW_LENGTH, WARM_UP, lambda: False)
    with evaluating(model):
        for positions, logits, targets in every:
            losses = F.cross_entropy(logits, targets, reduction="none")
            nats[positions.cpu().numpy()] = losses.cpu().numpy()
    return nats


def _predictions(
    model: LanguageModel,
    ids: Tensor | NDArray[np.int64],
    row_length: int | None,
    warm_up: int,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (M,) positions, the (M, V) logits there, and the (M,) ids after them, until the end."""
    ids = ids if isinstance(ids, Tensor) else id_tensor(ids, model.head.weight.device)
    count = len(ids) - 1
    if count < 1:
        raise ValueError("a text of fewer than two characters cannot be scored")
    rows = 1 if row_length is None else -(-count // row_length)
    length = -(-count // rows)
    starts = torch.arange(rows, device=ids.device) * length  # (rows,)
    state = model.initial_state(rows)
    chunk = max(1, CHUNK // (rows * model.vocabulary_size))
    first = -min(warm_up, (rows - 1) * length)
    begins = {*range(first, 0, chunk), *range(0, length, chunk), *range(0, first, -length)}
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
            where = positions[scored]
            yield where, logits[scored], ids[where + 1]


@torch.no_grad()
def evaluate_windows(
    model: LanguageModel,
    ids: Tensor,
    *,
    window: int = WINDOW,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]`` as nanoGPT measures it: each window starts from a zero state.

    The windows are ``ids[i : i + window]`` for i = 0, window, 2 window, ... (the last one may be
    shorter), and the targets are one character later, so each character of ``ids[1:]`` is predicted
    once. nanoGPT's ``train.py`` (A. Karpathy, 2022) draws windows at random places instead; this is
    the same measure on the whole text, without the chance.

    Arguments and errors are those of `evaluate`; ``window`` is a number of characters.
    """
    count = len(ids) - 1
    if count < 1:
        raise ValueError("a text of fewer than two characters cannot be scored")
    rows = max(1, CHUNK // (window * model.vocabulary_size))  # windows read side by side
    whole = count - count % window
    bounds = [
        (start, min(start + rows * window, whole)) for start in range(0, whole, rows * window)
    ]
    nats, unknown = 0.0, LossSum(0.0, 0)
    with evaluating(model):
        for begin, end in [*bounds, *([(whole, count)] if whole < count else [])]:
            if should_stop():
                raise Stopped
            length = min(window, end - begin)
            inputs = ids[begin:end].view(-1, length).T  # (T, rows)
            targets = ids[begin + 1 : end + 1].view(-1, length).T
            logits, _ = model(inputs, model.initial_state(inputs.shape[1]))
            nats += float(cross_entropy_sum(logits, targets))
            unknown += _unknown(logits, targets)
    return TextLoss(nats, count, unknown)


@torch.no_grad()
def evaluate_lines(
    model: LanguageModel,
    ids: Tensor,
    *,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]``, which are lines with their line ends, each line from a zero state.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) int64 on the model's device; the first one is a line end.
        rows: lines that are read in parallel; only the time and the memory depend on it.
        should_stop: called before each chunk.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
    """
    lines, nats, unknown = Lines(ids), 0.0, LossSum(0.0, 0)
    chunk = max(1, CHUNK // (rows * model.vocabulary_size))
    with evaluating(model):
        for together in length_batches(lines.lengths, rows):
            state = model.initial_state(len(together))
            for part, steps in lines.parts(together, chunk):
                if should_stop():
                    raise Stopped
                batch = lines.batch(part, steps)
                logits, state = model(batch.inputs, first_rows(state, len(part)))
                nats += float(cross_entropy_sum(logits, batch.targets))
                unknown += _unknown(logits, batch.targets)
    return TextLoss(nats, len(ids) - 1, unknown)


PROTOCOLS: dict[str, Callable[..., TextLoss]] = {
    "carried": evaluate,
    "nanogpt": evaluate_windows,
    "lines": evaluate_lines,
}
"""The ways to score a text. ``docs/scores.md`` describes them."""


def _unknown(logits: Tensor, targets: Tensor) -> LossSum:
    """The part of a loss on targets that the vocabulary lacks; logits (..., V), targets (...)."""
    chosen = targets == UNKNOWN
    if not bool(chosen.any()):
        return LossSum(0.0, 0)
    nats = float(cross_entropy_sum(logits[chosen], targets[chosen]))
    return LossSum(nats, int(chosen.sum()))


def _keep(rows: Tensor, tensor: Tensor) -> Tensor:
    """A (B, H) tensor with zeros in the rows where the (B,) mask ``rows`` is false."""
    return torch.where(rows.unsqueeze(1), tensor, 0)
