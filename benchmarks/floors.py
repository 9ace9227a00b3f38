"""Floors: the matrix products of a training or a generation, and nothing else.

The input of a network is a token id, so its product with a one-hot matrix is a look-up and not
counted; that of an embedding is. All operands and results are allocated beforehand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GATES = {"rnn": 1, "gru": 3, "gru-reset-before": 3, "lstm": 4}


def training_products(
    cell: str,
    *,
    vocabulary: int,
    hidden: int,
    batch_size: int,
    steps: int,
    batches: int,
    device: torch.device,
    embedding: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], int]:
    """The products of a number of batches, forward and backward; returns their characters."""
    gated, rows = GATES[cell] * hidden, steps * batch_size

    def matrix(height: int, width: int) -> Tensor:
        return torch.randn(height, width, device=device).mul_(0.01).to(dtype)

    def in_steps(whole: Tensor) -> list[Tensor]:
        return [*whole.view(steps, batch_size, -1)]

    embedded = matrix(rows, embedding) if embedding else None
    w_x, w_h, w_q = matrix(embedding, gated), matrix(hidden, gated), matrix(hidden, vocabulary)
    h, gates, logits = matrix(rows, hidden), matrix(rows, gated), matrix(rows, vocabulary)
    d_h, d_gates, d_embedded = torch.empty_like(h), matrix(rows, gated), matrix(rows, embedding)
    d_x, d_w, d_q = torch.empty_like(w_x), torch.empty_like(w_h), torch.empty_like(w_q)
    forward = list(zip(in_steps(h), in_steps(gates), strict=True))
    backward = list(zip(in_steps(d_gates), in_steps(d_h), strict=True))

    def products() -> int:
        for _ in range(batches):
            if embedded is not None:
                torch.mm(embedded, w_x, out=gates)
            for before, result in forward:
                torch.mm(before, w_h, out=result)
            torch.mm(h, w_q, out=logits)
            torch.mm(h.T, logits, out=d_q)
            torch.mm(logits, w_q.T, out=d_h)
            for gradient, result in backward:
                torch.mm(gradient, w_h.T, out=result)
            torch.mm(h.T, d_gates, out=d_w)
            if embedded is not None:
                torch.mm(embedded.T, d_gates, out=d_x)
                torch.mm(d_gates, w_x.T, out=d_embedded)
        return batches * rows

    return products


def generation_products(
    cell: str, *, vocabulary: int, hidden: int, samples: int, length: int, device: torch.device
) -> Callable[[], int]:
    """The products of generating ``length`` characters of each sample; returns their number."""
    w_h = torch.randn(GATES[cell] * hidden, hidden, device=device).mul_(0.01)
    w_q = torch.randn(vocabulary, hidden, device=device).mul_(0.01)
    shape = (hidden,) if samples == 1 else (hidden, samples)
    h = torch.randn(shape, device=device)
    gates, logits = torch.matmul(w_h, h), torch.matmul(w_q, h)

    @torch.no_grad()
    def products() -> int:
        for _ in range(length):
            torch.matmul(w_h, h, out=gates)
            torch.matmul(w_q, h, out=logits)
        return length * samples

    return products
