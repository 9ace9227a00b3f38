"""A character-level recurrent language model.

T steps, B batch, V vocabulary, E embedding, H hidden.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from charlm.recurrent.build import build_stack
from charlm.recurrent.core import StackState, reset_book
from charlm.recurrent.stack import LockedDropout


class LanguageModel(nn.Module):
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
            "book": normal with deviation 0.01, biases 0.
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
        super().__init__()
        self.vocabulary_size = vocabulary_size
        size = embedding_size or min(hidden_size, 64)
        if embedding != "learned":
            size = vocabulary_size if embedding == "one-hot" else hidden_size
        self.embedding: nn.Embedding | None = None
        if embedding != "one-hot":
            self.embedding = nn.Embedding(vocabulary_size, size)
        self.stack = build_stack(
            cell,
            backend,
            input_size=size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            weight_dropout=weight_dropout,
        )
        self.head = nn.Linear(hidden_size, vocabulary_size)
        self.input_dropout = LockedDropout(input_dropout)
        self.output_dropout = LockedDropout(output_dropout)
        if initialisation == "book":
            reset_book(self)
        elif self.embedding is not None:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        if embedding == "tied":
            assert self.embedding is not None
            self.head.weight = self.embedding.weight

    def initial_state(self, batch_size: int) -> StackState:
        """Zeros for each layer, (B, H) each."""
        return self.stack.initial_state(batch_size)

    def forward(self, inputs: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """(T, B) int64 token ids and a state to (T, B, V) logits and the state after them."""
        xs = inputs if self.embedding is None else self.input_dropout(self.embedding(inputs))
        outputs, state = self.stack(xs, state)
        return self.head(self.output_dropout(outputs)), state

    def num_parameters(self) -> int:
        """Trainable numbers; tied weights count once."""
        return sum(parameter.numel() for parameter in self.parameters())


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies, in nats, of (..., V) logits and (...) targets."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")
