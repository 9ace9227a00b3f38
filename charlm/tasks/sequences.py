"""Sequences of unequal lengths: storage, batches with padding, training and scoring.

Symbols in shapes: T steps, B batch, N sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.training.loss import LossSum
from charlm.training.objective import Objective

POOL = 50  # the number of batches whose rows are sorted by length together
ROWS = 256  # sequences in a batch when they are scored

Result = TypeVar("Result")


class Sequences:
    """N sequences of token ids, (length,) each, of one integer type and not empty, end to end."""

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self.lengths = torch.tensor([len(part) for part in parts], dtype=torch.int64)  # (N,)
        self._starts = (self.lengths.cumsum(0) - self.lengths).to(device)  # (N,)
        self._ids = (torch.cat(list(parts)) if parts else torch.empty(0)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(
        self, rows: Tensor, *, steps: int | None = None, before: bool = False, padding: int = 0
    ) -> Tensor:
        """The chosen sequences as the columns of a (T, B) int64 matrix.

        Args:
            rows: (B,) int64, the indices of the sequences, on the CPU.
            steps: T, at least the length of the longest chosen sequence; None is that length.
            before: put the padding before a shorter sequence, not after it.
            padding: the id that pads a shorter sequence.
        """
        lengths, device = self.lengths[rows], self._ids.device
        steps = int(lengths.max()) if steps is None else steps
        places = torch.arange(steps, device=device).unsqueeze(1)  # (T, 1)
        lengths, rows = lengths.to(device), rows.to(device)
        if before:
            places = places - (steps - lengths)  # (T, B)
        valid = (places >= 0) & (places < lengths)
        ids = self._ids[(self._starts[rows] + places).clamp(0, len(self._ids) - 1)]
        return torch.where(valid, ids.to(torch.int64), padding)


def length_batches(
    lengths: Tensor, batch_size: int, generator: torch.Generator | None = None
) -> list[Tensor]:
    """The (B,) int64 indices of all sequences, in batches of similar lengths to save padding.

    Args:
        lengths: (N,) int64, on the CPU.
        batch_size: B; one batch is smaller if B does not divide N.
        generator: shuffles the sequences, sorts each group of ``POOL`` batches by length, and
            shuffles the batches. None sorts all sequences, the longest first.
    """
    if generator is None:
        order = lengths.sort(descending=True, stable=True).indices
        return [order[row : row + batch_size] for row in range(0, len(order), batch_size)]
    order = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[lengths[pool].sort(stable=True).indices]
        batches += [pool[row : row + batch_size] for row in range(0, len(pool), batch_size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


@torch.no_grad()
def compute_in_batches(
    model: nn.Module,
    lengths: Tensor,
    compute: Callable[[Tensor], Iterable[Result]],
    *,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Result]:
    """A result for each sequence, in order. Sequences of similar lengths share a batch.

    Args:
        model: it is in evaluation mode while ``compute`` runs, and in its own mode afterwards.
        lengths: (N,) int64, on the CPU.
        compute: from the indices of a batch's sequences, (B,) int64, to a result for each of them.
        rows: sequences in a batch; only the time and the memory depend on it.

    Raises:
        Stopped: ``should_stop`` returned True; the model is unchanged.
    """
    found: dict[int, Result] = {}
    with evaluating(model):
        for batch in length_batches(lengths, rows):
            if should_stop():
                raise Stopped
            found.update(zip(batch.tolist(), compute(batch), strict=True))
    return [found[row] for row in range(len(lengths))]


def spread(number: int, wanted: int) -> Tensor:
    """The indices of ``wanted`` of a number of sequences, spread evenly, (wanted,) int64."""
    return torch.arange(wanted) * number // wanted


class SequenceObjective(Objective):
    """An objective whose batches are labelled sequences of similar lengths."""

    lengths: Tensor  # (N,) int64, on the CPU: of the sequences of the train split
    batch_size: int

    def draw_batches(self, generator: torch.Generator) -> list[Tensor]:
        """The indices of the sequences in each batch, (B,) int64."""
        return length_batches(self.lengths, self.batch_size, generator)

    def train_metric(self, loss: LossSum) -> float:
        """The mean cross-entropy, in nats per label."""
        return loss.mean
