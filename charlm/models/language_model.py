"""A character-level recurrent language model.

T steps, B batch, V vocabulary, E embedding, H hidden.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.recurrent_model import RecurrentModel
from charlm.recurrent.core import StackState


class LanguageModel(RecurrentModel):
    """Token ids to the logits of the next ones.

    Args:
        vocabulary_size: V.
        cell: name of the recurrent cell, see `charlm.recurrent.build`.
        backend: "torch" or "scratch".
        hidden_size: H, of each layer.
        num_layers: recurrent layers.
        embedding: "one-hot" (E = V; nothing is learned, the book's), "learned", or "tied": the
            head's weights serve as the table too (Press and Wolf 2017, arXiv:1608.05859; E = H).
        embedding_size: E of a learned embedding; None: 64, or H where that is less.
        initialisation: "torch": uniform in +-1/sqrt(H), and +-0.1 for an embedding;
            "book": normal with deviation 0.01, biases 0; "glorot": see `reset_glorot`.
        input_dropout, dropout, output_dropout: probabilities of locked dropout on the embedded
            input, between layers and before the head.
        weight_dropout: probability of dropout on the hidden-to-hidden weights.

    Raises:
        ValueError: the backend has no such cell.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        cell: str,
        backend: str = "torch",
        hidden_size: int,
        num_layers: int = 1,
        embedding: str = "one-hot",
        embedding_size: int | None = None,
        initialisation: str = "torch",
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        size: int | None = embedding_size or min(hidden_size, 64)
        if embedding != "learned":
            size = None if embedding == "one-hot" else hidden_size
        super().__init__(
            vocabulary_size,
            cell=cell,
            backend=backend,
            hidden_size=hidden_size,
            num_layers=num_layers,
            embedding_size=size,
            input_dropout=input_dropout,
            dropout=dropout,
            output_dropout=output_dropout,
            weight_dropout=weight_dropout,
        )
        self.head = nn.Linear(hidden_size, vocabulary_size)
        self.initialise(initialisation, embedding_bound=0.1)
        if embedding == "tied":
            assert self.embedding is not None
            self.head.weight = self.embedding.weight

    def forward(self, inputs: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """(T, B) int64 token ids and a state to (T, B, V) logits and the state after them."""
        outputs, state = self.stack(self.embed(inputs), state)
        return self.head(self.output_dropout(outputs)), state


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies, in nats, of (..., V) logits and (...) targets."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")
