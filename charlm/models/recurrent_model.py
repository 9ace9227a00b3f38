"""The base of all tasks' models: embedding, recurrent layers, dropout before and after them.

Symbols in shapes: T steps, B batch, V vocabulary, E embedding, O output of the top layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from charlm.errors import UsageError
from charlm.optimisation.tables import table_parameters
from charlm.recurrent.stack import LockedDropout, Stack
from charlm.recurrent.states import StackState


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode inside the block, and back in its own mode afterwards."""
    if not model.training:  # walking through all modules would slow down each step of a sample
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


def check_same_shapes(
    here: Sequence[Tensor], there: Sequence[Tensor], free: Sequence[Sequence[int]]
) -> None:
    """Check that weights have the shapes of those that are copied into them.

    Args:
        free: for each tensor ``here``, the dimensions whose size may differ.

    Raises:
        UsageError: they have others.
    """

    def shapes(tensors: Sequence[Tensor]) -> list[list[int]]:
        pairs = zip(tensors, free, strict=False)
        return [[n for d, n in enumerate(each.shape) if d not in but] for each, but in pairs]

    if len(here) != len(there) or shapes(here) != shapes(there):
        raise UsageError(
            "the model's embedding and recurrent layers are not those of the run that they "
            "are copied from",
            "leave out the settings of the network: they come from the run",
        )


class RecurrentModel(nn.Module):
    """Token ids to the outputs of recurrent layers.

    Args:
        embedding: the table, (V, E); None: one-hot vectors.
        input_dropout: probability of locked dropout on the embedded input.
        output_dropout: probability of locked dropout before the head.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        stack: Stack,
        *,
        input_dropout: float,
        output_dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.stack = stack
        self.input_dropout = LockedDropout(input_dropout)
        self.output_dropout = LockedDropout(output_dropout)

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.stack.input_size if self.embedding is None else self.embedding.num_embeddings

    def initial_state(self, batch_size: int) -> StackState:
        """The state before the first step of each layer, (B, ...) each."""
        return self.stack.initial_state(batch_size)

    def embed(self, inputs: Tensor) -> Tensor:
        """(T, B) int64 token ids to the stack's input: (T, B, E), or the ids if one-hot."""
        return inputs if self.embedding is None else self.input_dropout(self.embedding(inputs))

    def num_parameters(self) -> int:
        """The number of trainable parameters. Tied weights count once."""
        return sum(each.numel() for each in self.parameters() if each.requires_grad)

    def num_in_tables(self) -> int:
        """The number of them in tables of n-grams, of which a step of training uses few rows."""
        tables = table_parameters(self).values()
        return sum(each.numel() for each in tables if each.requires_grad)

    @torch.no_grad()
    def take_layers(self, source: RecurrentModel) -> None:
        """Copy the embedding and the recurrent layers of another model; its dropout may differ.

        Raises:
            UsageError: the layers are not of the same kinds and sizes.
        """
        here, there = self._layer_parameters(), source._layer_parameters()
        check_same_shapes(here, there, [()] * len(here))
        for ours, theirs in zip(here, there, strict=True):
            ours.copy_(theirs)

    def _layer_parameters(self) -> list[nn.Parameter]:
        embedding = [] if self.embedding is None else self.embedding.parameters()
        return [*embedding, *self.stack.parameters()]
