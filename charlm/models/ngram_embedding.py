"""Embeddings of the last n characters, beside that of the last one.

Symbols in shapes: T steps, B batch, N the longest n-gram, E embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# The hash of an n-gram: a polynomial of its token ids, spread over 64 bits (Knuth, "The art of
# computer programming", volume 3, section 6.4).
BASE = 1_000_003
SPREAD = -7_046_029_254_386_353_131  # 2^64 divided by the golden ratio, as an int64


class ContextState(NamedTuple):
    """The characters before the next one."""

    previous: Tensor  # (B, N - 1) token ids, as floating point like all states; the last one last


class NGramEmbedding(nn.Module):
    """The sum of the embeddings of the last 2, 3, ..., N characters.

    ::

        g_t = G_2[hash(c_(t-1), c_t)] + ... + G_N[hash(c_(t-N+1), ..., c_t)]

    Each G_n is a table whose rows are chosen by a hash of the characters, so n-grams can share a
    row. The tables cost no matrix product, and a step changes only the rows of the n-grams in it.
    They take the statistics of short contexts over from the recurrent layers, which need fewer
    units then. Mikolov et al. (2011), "Strategies for training large scale neural network language
    models", add hashed n-grams to the logits; here they are vectors, which the recurrent
    layers and the output layer both read. Before the text there is the token id 0.

    Args:
        order: N, at least 2.
        rows: of each table.
        embedding_size: E.
        dropout: probability that an n-gram at a step is left out of the sum in training; the others
            are scaled up. An n-gram that is seen only once would be learned by heart.
    """

    sparse = True  # the gradient of the table has only the rows that were used

    def __init__(self, order: int, rows: int, embedding_size: int, dropout: float) -> None:
        super().__init__()
        self.order, self.rows, self.dropout = order, rows, dropout
        self.table = nn.Parameter(torch.zeros((order - 1) * rows, embedding_size))

    def initial_context(self, batch_size: int) -> ContextState:
        """The characters before a text."""
        return ContextState(self.table.new_zeros(batch_size, self.order - 1))

    def forward(self, ids: Tensor, context: ContextState) -> tuple[Tensor, ContextState]:
        """(T, B) int64 token ids to (T, B, E) vectors, and the context after them."""
        indices, context = self.hashed(ids, context)
        indices = indices.flatten(0, 1)
        kept = None
        if self.training and self.dropout:
            kept = F.dropout(self.table.new_ones(indices.shape), self.dropout)
        sums = F.embedding_bag(
            indices, self.table, mode="sum", per_sample_weights=kept, sparse=True
        )
        return sums.view(*ids.shape, -1), context

    def hashed(self, ids: Tensor, context: ContextState) -> tuple[Tensor, ContextState]:
        """(T, B) token ids to the (T, B, N - 1) rows of their n-grams, and the next context."""
        before, steps = self.order - 1, len(ids)
        read = torch.cat([context.previous.T.to(torch.int64), ids])  # (N - 1 + T, B)
        value, indices = ids, []
        for n in range(1, self.order):
            value = value * BASE + read[before - n : before - n + steps] + 1
            row = ((value * SPREAD) >> 32) % self.rows
            indices.append(row + (n - 1) * self.rows)
        after = read[len(read) - before :].T.to(context.previous.dtype)
        return torch.stack(indices, dim=-1), ContextState(after)
