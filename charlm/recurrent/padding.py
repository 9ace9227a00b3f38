"""Batches of sequences of unequal lengths: remove their padding, and put it back as zeros."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def check_lengths(lengths: Tensor, xs: Tensor) -> None:
    """Make sure that ``lengths`` are the lengths of the rows of ``xs``, (T, B, ...).

    Raises:
        ValueError: they are not (B,) int64, or one of them is not from 1 to T.
    """
    steps, batch_size = xs.shape[:2]
    if lengths.dtype != torch.int64 or lengths.shape != (batch_size,):
        given = f"{lengths.dtype} of shape {tuple(lengths.shape)}"
        raise ValueError(f"lengths are {given}; they must be torch.int64 of shape ({batch_size},)")
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1 or longest > steps:
        raise ValueError(f"lengths are from {shortest} to {longest}; 1 to {steps} are possible")


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Which of T steps are not padding, (T, B) bool, for (B,) lengths; on their device."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def pack(xs: Tensor, lengths: Tensor) -> PackedSequence:
    """The valid steps of (T, B, ...): at each step the rows that have it, the longest first."""
    check_lengths(lengths, xs)
    return pack_padded_sequence(xs, lengths.cpu(), enforce_sorted=False)


def unpack(packed: PackedSequence, steps: int) -> Tensor:
    """The inverse of `pack`: (T, B, ...) with zeros as padding."""
    padded, _ = pad_packed_sequence(packed, total_length=steps)
    return padded


def reverse(xs: Tensor, lengths: Tensor | None) -> Tensor:
    """(T, B, ...) with each row's valid steps in reverse order. The padding stays in its place."""
    if lengths is None:
        return xs.flip(0)
    steps = torch.arange(len(xs), device=xs.device).unsqueeze(1)  # (T, 1)
    lengths = lengths.to(xs.device)
    valid = valid_steps(lengths, len(xs))
    sources = torch.where(valid, lengths - 1 - steps, steps)  # (T, B)
    return xs[sources, torch.arange(len(lengths), device=xs.device)]
