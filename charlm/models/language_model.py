"""A character-level recurrent language model.

Symbols in shapes: T steps, B batch, V vocabulary.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.recurrent_model import RecurrentModel
from charlm.recurrent.stack import Stack
from charlm.recurrent.states import StackState


class LanguageModel(RecurrentModel):
    """Token ids to the logits of the next ones.

    `charlm.models.build.build_language_model` makes one from a configuration.

    Args:
        embedding: the table; None: one-hot vectors. A tied head has the same weights (Press and
            Wolf 2017, arXiv:1608.05859).
        stack: the recurrent layers, in one direction.
        head: the outputs of the stack to V logits.
        input_dropout: probability of locked dropout on the embedded input.
        output_dropout: probability of locked dropout before the head.
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
