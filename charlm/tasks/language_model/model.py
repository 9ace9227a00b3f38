"""A character-level recurrent language model.

Symbols in shapes: T steps, B batch, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.build import build_layers, embedding_size, narrow_embedding
from charlm.models.recurrent_model import RecurrentModel
from charlm.recurrent.initialisation import initialise
from charlm.recurrent.stack import Stack
from charlm.recurrent.states import StackState
from charlm.tasks.language_model.config import LanguageModelSection


class LanguageModel(RecurrentModel):
    """Token ids to the logits of the next ones.

    `build_language_model` makes one from a configuration.

    Args:
        embedding: the table; None: one-hot vectors. A tied head has the same weights (Press and
            Wolf 2017, arXiv:1608.05859).
        stack: the recurrent layers, in one direction.
        head: the outputs of the stack to V logits.
        input_dropout, output_dropout: probabilities of locked dropout, as in `RecurrentModel`.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        stack: Stack,
        head: nn.Linear,
        *,
        input_dropout: float,
        output_dropout: float,
    ) -> None:
        super().__init__(
            embedding, stack, input_dropout=input_dropout, output_dropout=output_dropout
        )
        self.head = head

    def forward(self, inputs: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """(T, B) int64 token ids and a state to (T, B, V) logits and the state after them."""
        outputs, state = self.stack(self.embed(inputs), state)
        return self.head(self.output_dropout(outputs)), state


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of the cross-entropies, in nats, of (..., V) logits and (...) targets."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")


def build_language_model(config: LanguageModelSection, vocabulary_size: int) -> LanguageModel:
    """A freshly initialised language model; torch's global generator decides its weights.

    Raises:
        ValueError: the backend has no such cell.
    """
    size = config.hidden_size if config.embedding == "tied" else embedding_size(config)
    one_hot = config.embedding == "one-hot"
    embedding = None if one_hot else nn.Embedding(vocabulary_size, size)
    stack = build_layers(config, vocabulary_size if one_hot else size, bidirectional=False)
    head = nn.Linear(stack.output_size, vocabulary_size)
    initialise(config.initialisation, [embedding, stack, head])
    narrow_embedding(embedding, config)
    if config.embedding == "tied" and embedding is not None:
        head.weight = embedding.weight
    return LanguageModel(
        embedding,
        stack,
        head,
        input_dropout=config.input_dropout,
        output_dropout=config.output_dropout,
    )
