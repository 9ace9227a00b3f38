"""Cross-entropy of a model on a sequence, every predicted character weighted the same."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state
from charlm.tasks.language_model.batches import PADDING, Lines, first_rows
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.sequences import ROWS, length_batches
from charlm.training.loss import LossSum

ROW_LENGTH = 2048  # characters scored in one row
WARM_UP = 512  # characters that a row reads before the scored ones
WINDOW = 256  # characters scored from one zero state in nanoGPT's protocol
CHUNK = 4_000_000  # the largest number of logits in memory at once
# Rows that are read side by side, and characters of a chunk: on a CPU, nn.LSTM is fastest where
# both fit into the processor's cache.
CPU_ROWS, CPU_CHARACTERS = 128, 4096
GPU_ROWS = 4096

Ids = Tensor | NDArray[np.integer]
ALL = slice(None)


@dataclass(frozen=True)
class TextLoss(LossSum):
    """The loss on a text, or on a sample of it: ``count`` of its ``characters`` were scored."""

    unknown: LossSum  # the part on characters that the vocabulary lacks
    characters: int  # that can be predicted: all but the first
    standard_error: float | None = None  # of a sample's ``mean``, in nats per character
    each: NDArray[np.float64] | None = None  # (count,) nats in the order of the text, if wanted

    @property
    def known(self) -> LossSum:
        """The part on characters of the vocabulary."""
        return LossSum(self.nats - self.unknown.nats, self.count - self.unknown.count)


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    ids: Ids,
    *,
    row_length: int | None = ROW_LENGTH,
    warm_up: int = WARM_UP,
    at_most: int | None = None,
    each: bool = False,
    share: slice = ALL,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]``: each character is predicted from the characters before it.

    A long text is cut into rows, which are read in parallel. Each row starts from a zero state
    and first reads the ``warm_up`` characters before its first scored one, or all of them if there
    are fewer. The rest of the text before the row is ignored.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) integers, N >= 2: an array, or a tensor on the model's device.
        row_length: characters scored in one row; None: a single row, which is exact but slow.
        at_most: score a sample of a longer text: rows of ``row_length`` characters, spread evenly,
            with at most this number of characters in all (or one row). None: score all.
        each: also return the loss of each scored character.
        share: the rows to score, for processes that share them.
        should_stop: called before each chunk.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
        ValueError: there are fewer than two characters.

    >>> run = charlm.open("novel")
    >>> loss = charlm.evaluate(run.load_model(), run.vocabulary.encode("The traveller sat down."))
    >>> loss.count
    22
    """
    count = _predicted(ids)
    rows = rows_of(count, row_length, at_most)
    rows = rows._replace(starts=rows.starts[share])
    return _loss(model, ids, rows, warm_up, each, should_stop)


def _loss(
    model: LanguageModel,
    ids: Ids,
    rows: Rows,
    warm_up: int,
    each: bool,
    should_stop: Callable[[], bool],
) -> TextLoss:
    losses = _Losses(len(rows.starts), each)
    for first, places, logits, targets, scored in _predictions(
        model, ids, rows, warm_up, should_stop
    ):
        losses.add(slice(first, first + targets.shape[1]), places, logits, targets, scored)
    return losses.total(len(ids) - 1)


def character_nats(model: LanguageModel, ids: NDArray[np.integer]) -> NDArray[np.float64]:
    """The cross-entropy of each of ``ids[1:]``, (N - 1,), in nats; as in `evaluate`, N >= 1."""
    loss = evaluate(model, ids, each=True) if len(ids) > 1 else None
    return np.empty(0) if loss is None or loss.each is None else loss.each


class Rows(NamedTuple):
    """Parts of a text of one length: the characters ``ids[1 + start : 1 + start + length]``."""

    starts: NDArray[np.int64]  # (R,) ascending
    length: int  # the last row ends with the text, if that is earlier


def rows_of(count: int, row_length: int | None, at_most: int | None) -> Rows:
    """The rows in which `evaluate` scores a text with ``count`` characters to predict."""
    if at_most is not None and count > at_most:
        length = min(row_length or at_most, at_most)
        number = at_most // length
        return Rows(np.arange(number) * count // number, length)
    number = 1 if row_length is None else -(-count // row_length)
    length = -(-count // number)
    return Rows(np.arange(number) * length, length)


def _predictions(
    model: LanguageModel,
    ids: Ids,
    rows: Rows,
    warm_up: int,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
    """Read the rows in blocks of B rows and chunks of T characters.

    Yields:
        The first row of the block, the (T, B) positions on the CPU, the (T, B, V) logits there, the
        (T, B) ids after them, and which of them are scored, (T, B): those before the end.
    """
    count = len(ids) - 1
    device = ids.device if isinstance(ids, Tensor) else model.head.weight.device
    most, characters = (CPU_ROWS, CPU_CHARACTERS) if device.type == "cpu" else (GPU_ROWS, CHUNK)
    number = len(rows.starts)
    if not number:
        return  # a process without a share
    size = -(-number // -(-number // most))  # all blocks have nearly as many rows
    with evaluating(model):
        for row in range(0, number, size):
            starts = torch.from_numpy(rows.starts[row : row + size])  # (B,)
            wide = len(starts)
            state = model.initial_state(wide)
            chunk = max(1, min(CHUNK // (wide * model.vocabulary_size), characters // wide))
            first = -min(warm_up, int(starts[-1]))
            # A row whose warm-up would begin before the text has a zero state until it begins.
            late = {-start for start in starts.tolist() if start < warm_up}
            begins = {*range(first, 0, chunk), *range(0, rows.length, chunk), *late}
            for begin, end in itertools.pairwise([*sorted(begins), rows.length]):
                if should_stop():
                    raise Stopped
                if begin <= 0:
                    begun = (starts + begin > 0).to(device)
                    state = map_state(functools.partial(_keep, begun), state)
                places = starts + torch.arange(begin, end).unsqueeze(1)  # (T, B)
                positions = places.clamp(0, count - 1)
                inputs = _take(ids, positions, device)
                if begin < 0:  # nothing is scored, so no logits are needed
                    state = model.read(inputs, state)
                else:
                    logits, state = model(inputs, state)
                    scored = (places < count).to(device)
                    yield row, positions, logits, _take(ids, positions + 1, device), scored


def _take(ids: Ids, positions: Tensor, device: torch.device) -> Tensor:
    """The ids at some positions, int64 on the device."""
    if isinstance(ids, Tensor):
        return ids[positions.to(device)].to(torch.int64)
    return torch.from_numpy(ids[positions.numpy()].astype(np.int64)).to(device)


@torch.no_grad()
def evaluate_windows(
    model: LanguageModel,
    ids: Ids,
    *,
    window: int = WINDOW,
    at_most: int | None = None,
    each: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]`` as nanoGPT measures it: each window starts from a zero state.

    The windows are ``ids[i : i + window]`` for i = 0, window, 2 window, ... (the last one may be
    shorter), and the targets are one character later, so each character of ``ids[1:]`` is predicted
    once. nanoGPT's ``train.py`` (A. Karpathy, 2022) draws windows at random places instead; this is
    the same measure on the whole text, without the chance. With ``at_most``, the windows are spread
    evenly over the text.

    Arguments and errors are those of `evaluate`; ``window`` is a number of characters.
    """
    count = _predicted(ids)
    rows = Rows(np.arange(0, count, window), min(window, count))
    if at_most is not None and count > at_most:
        rows = rows_of(count, window, at_most)
    return _loss(model, ids, rows, 0, each, should_stop)


@torch.no_grad()
def evaluate_lines(
    model: LanguageModel,
    ids: Ids,
    *,
    rows: int = ROWS,
    at_most: int | None = None,
    each: bool = False,
    share: slice = ALL,
    should_stop: Callable[[], bool] = lambda: False,
) -> TextLoss:
    """The loss on ``ids[1:]``, which are lines with their line ends, each line from a zero state.

    Args:
        model: in any mode; it is in the same mode afterwards.
        ids: (N,) integers, as in `evaluate`; the first one is a line end.
        rows: lines that are read in parallel; only the time and the memory depend on it.
        at_most: score a sample of a longer text: lines, spread evenly over the text, with about
            this number of characters in all. None: score all lines.
        each: also return the loss of each scored character.
        share: the lines to score, of those, for processes that share them.
        should_stop: called before each chunk.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
    """
    count = len(ids) - 1
    if not isinstance(ids, Tensor):
        ids = torch.tensor(ids.astype(np.int64), device=model.head.weight.device)
    lines = Lines(ids)
    chosen = torch.from_numpy(lines_of(len(lines.lengths), count, at_most)[share])
    losses = _Losses(len(lines.lengths), each)
    chunk = max(1, CHUNK // (rows * model.vocabulary_size))
    with evaluating(model):
        for together in length_batches(lines.lengths[chosen], rows):
            state = model.initial_state(len(together))
            for part, steps in lines.parts(chosen[together], chunk):
                if should_stop():
                    raise Stopped
                batch = lines.batch(part, steps)
                logits, state = model(batch.inputs, first_rows(state, len(part)))
                scored = batch.targets != PADDING
                places = lines.positions(part, steps)
                losses.add(part.numpy(), places, logits, batch.targets, scored)
    return losses.total(count)


def lines_of(number: int, characters: int, at_most: int | None) -> NDArray[np.int64]:
    """The lines that `evaluate_lines` scores, of a ``number`` of lines with these characters."""
    wanted = number
    if at_most is not None and characters > at_most:
        wanted = max(1, number * at_most // characters)
    return np.arange(wanted) * number // wanted


PROTOCOLS: dict[str, Callable[..., TextLoss]] = {
    "carried": evaluate,
    "nanogpt": evaluate_windows,
    "lines": evaluate_lines,
}
"""The ways to score a text. ``docs/scores.md`` describes them."""


def scored_parts(
    protocol: str, ids: NDArray[np.integer], at_most: int | None
) -> list[tuple[int, int]]:
    """Where the parts of a text begin and end that a protocol scores; without a sample, one."""
    count = len(ids) - 1
    if at_most is None or count <= at_most:
        return [(1, len(ids))]
    if protocol == "lines":
        ends = np.flatnonzero(ids == ids[0])  # (L + 1,)
        chosen = lines_of(len(ends) - 1, count, at_most)
        return [*zip((ends[chosen] + 1).tolist(), (ends[chosen + 1] + 1).tolist(), strict=True)]
    starts, length = rows_of(count, WINDOW if protocol == "nanogpt" else ROW_LENGTH, at_most)
    return [(1 + start, 1 + start + length) for start in starts.tolist()]


class _Losses:
    """Losses that are added up, those of each of P parts of a text apart."""

    def __init__(self, parts: int, each: bool) -> None:
        self.nats, self.counts = np.zeros(parts), np.zeros(parts, np.int64)
        self.unknown = LossSum(0.0, 0)
        self.each: list[tuple[Tensor, Tensor]] | None = [] if each else None

    def add(
        self,
        parts: slice | NDArray[np.int64],
        positions: Tensor,
        logits: Tensor,
        targets: Tensor,
        scored: Tensor,
    ) -> None:
        """Add the losses of B parts, of (T, B, V) logits and (T, B) targets, where scored."""
        losses = _cross_entropies(logits, targets).double().where(scored, 0)  # (T, B)
        self.nats[parts] += losses.sum(0).cpu().numpy()
        self.counts[parts] += scored.sum(0).cpu().numpy()
        unknown = scored & (targets == UNKNOWN)
        number = int(unknown.sum())
        if number:
            self.unknown += LossSum(float(losses[unknown].sum()), number)
        if self.each is not None:
            scored = scored.cpu()
            self.each.append((positions.cpu()[scored], losses.cpu()[scored]))

    def total(self, characters: int) -> TextLoss:
        """The loss on a text with these characters to predict, of which some were scored."""
        nats, count = float(self.nats.sum()), int(self.counts.sum())
        error = self._standard_error(count / characters) if count < characters else None
        each = None
        if self.each is not None:
            positions, losses = map(torch.cat, zip(*self.each, strict=True))
            each = losses[positions.argsort()].numpy()
        return TextLoss(nats, count, self.unknown, characters, error, each)

    def _standard_error(self, share: float) -> float | None:
        """The standard error of the mean of a sample, which is a share of the text; or None.

        With M sampled parts of n_i nats and c_i characters, and their mean m (a ratio, Cochran,
        "Sampling techniques", 1977, chapter 6):

            sqrt((1 - share) M / (M - 1) sum_i (n_i - m c_i)^2) / sum_i c_i

        The parts stand as if they were drawn at random. They are spread evenly, so the error is
        rather smaller.
        """
        chosen = self.counts > 0
        nats, counts, parts = self.nats[chosen], self.counts[chosen], int(chosen.sum())
        if parts < 2:
            return None
        rest = nats - nats.sum() / counts.sum() * counts
        square = (1 - share) * parts / (parts - 1) * float(rest @ rest)
        return math.sqrt(square) / int(counts.sum())


def _predicted(ids: Ids) -> int:
    """The number of characters to predict; a ValueError if there are none."""
    if len(ids) < 2:
        raise ValueError("a text of fewer than two characters cannot be scored")
    return len(ids) - 1


def _cross_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    """The (T, B) cross-entropies, in nats, of (T, B, V) logits and (T, B) targets."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view_as(targets)


def _keep(rows: Tensor, tensor: Tensor) -> Tensor:
    """A (B, H) tensor with zeros in the rows where the (B,) mask ``rows`` is false."""
    return torch.where(rows.unsqueeze(1), tensor, 0)
