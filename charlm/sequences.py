"""Sequences of unequal lengths: stored end to end, padded when a batch is made.

T steps, B batch, N sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

POOL = 50  # the number of batches whose rows are sorted by length together


class Sequences:
    """N sequences of token ids, end to end.

    Args:
        parts: the sequences, (length,) each, all of one integer type, none of them empty.
        device: the device of the sequences and of their batches.
    """

    def __init__(self, parts: Sequence[Tensor], device: torch.device) -> None:
        self.lengths = torch.tensor([len(part) for part in parts], dtype=torch.int64)  # (N,)
        self._starts = (self.lengths.cumsum(0) - self.lengths).to(device)  # (N,)
        self._ids = (torch.cat(list(parts)) if parts else torch.empty(0)).to(device)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(
        self, rows: Tensor, *, steps: int | None = None, before: bool = False, padding: int = 0
    ) -> Tensor:
        """The chosen sequences as the columns of a matrix.

        Args:
            rows: (B,) int64, the numbers of the sequences, on the CPU.
            steps: T, at least the length of the longest chosen sequence; None is that length.
            before: put the padding before a shorter sequence, not after it.
            padding: the id that pads a shorter sequence.

        Returns:
            (T, B) int64.
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
    """The numbers of all sequences, in batches of similar lengths, so that padding is short.

    Args:
        lengths: (N,) int64, on the CPU.
        batch_size: B; one batch is smaller if B does not divide N.
        generator: shuffles the sequences, sorts each group of ``POOL`` batches by length, and
            shuffles the batches. None sorts all sequences, the longest first.

    Returns:
        For each batch, the numbers of its sequences, (B,) int64.
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
