"""What the models of all tasks have below their heads.

T steps, B batch, V vocabulary, E embedding, O output of the top layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from charlm.errors import UsageError
from charlm.recurrent.build import build_stack
from charlm.recurrent.core import StackState, reset_book, reset_glorot
from charlm.recurrent.stack import LockedDropout


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within, the model is in evaluation mode; after it, in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class RecurrentModel(nn.Module):
    """Token ids to the outputs of recurrent layers.

    Args:
        vocabulary_size: V.
        cell: name of the recurrent cell, see `charlm.recurrent.build`.
        backend: "torch" or "scratch".
        hidden_size: H, of each layer and direction.
        num_layers: recurrent layers.
        bidirectional: whether each layer reads both ways.
        embedding_size: E of a learned table; None: one-hot vectors, for which no table is made.
        more_inputs: what comes to each embedding from elsewhere, in features.
        input_dropout, dropout, output_dropout: probabilities of locked dropout on the embedded
            input, between layers and on the outputs.
        weight_dropout: probability of dropout on the hidden-to-hidden weights.

    Raises:
        ValueError: the backend has no such cell.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str,
        backend: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool = False,
        embedding_size: int | None,
        more_inputs: int = 0,
        input_dropout: float,
        dropout: float,
        output_dropout: float,
        weight_dropout: float,
    ) -> None:
        super().__init__()
        self.vocabulary_size, self.bidirectional = vocabulary_size, bidirectional
        self.embedding: nn.Embedding | None = None
        if embedding_size is not None:
            self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.stack = build_stack(
            cell,
            backend,
            input_size=(embedding_size or vocabulary_size) + more_inputs,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            weight_dropout=weight_dropout,
        )
        self.input_dropout = LockedDropout(input_dropout)
        self.output_dropout = LockedDropout(output_dropout)

    def initialise(self, how: str, embedding_bound: float | None = None) -> None:
        """Draw the weights anew, as far as they are not to stay as their modules drew them.

        Args:
            how: "torch", "book" or "glorot".
            embedding_bound: with "torch", the table is uniform in +- this; None: as torch draws it.
        """
        if how == "book":
            reset_book(self)
        elif how == "glorot":
            reset_glorot(self)
        elif self.embedding is not None and embedding_bound is not None:
            nn.init.uniform_(self.embedding.weight, -embedding_bound, embedding_bound)

    def initial_state(self, batch_size: int) -> StackState:
        """Zeros for each layer, (B, H) each."""
        return self.stack.initial_state(batch_size)

    def embed(self, inputs: Tensor) -> Tensor:
        """(T, B) int64 token ids to what the stack reads: (T, B, E), or the ids themselves."""
        return inputs if self.embedding is None else self.input_dropout(self.embedding(inputs))

    def num_parameters(self) -> int:
        """Trainable numbers; tied weights count once."""
        return sum(each.numel() for each in self.parameters() if each.requires_grad)

    @torch.no_grad()
    def take_layers(self, source: RecurrentModel) -> None:
        """Copy the embedding and the recurrent layers of another model, dropout aside.

        Raises:
            UsageError: they are not of the same kinds and sizes.
        """
        here, there = self._layer_parameters(), source._layer_parameters()
        if [each.shape for each in here] != [each.shape for each in there]:
            raise UsageError(
                "the model's embedding and recurrent layers are not those of the run that they "
                "shall come from",
                "leave the settings of the network out: the run brings its own",
            )
        for ours, theirs in zip(here, there, strict=True):
            ours.copy_(theirs)

    def _layer_parameters(self) -> list[nn.Parameter]:
        parts = [] if self.embedding is None else [*self.embedding.parameters()]
        return [*parts, *self.stack.parameters()]
