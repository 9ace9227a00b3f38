"""A tagger: a tag for each word of a sentence.

T steps, B batch, E embedding, U distinct words, M parts of a word, K tags.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.recurrent_model import RecurrentModel
from charlm.recurrent.padding import valid_steps


class WordInputs(NamedTuple):
    """What a tagger reads of some sentences."""

    words: Tensor  # (T, B) int64, padded behind
    lengths: Tensor  # (B,) int64
    parts: Tensor  # (U, M) int64, of each distinct word, filled up with the number of buckets
    places: Tensor  # (T, B) int64, which of the distinct words stands there


class Tagger(RecurrentModel):
    """Words to the logits of their tags.

    A word's vector is its own plus those of its parts, character n-grams and shape, hashed into
    buckets (Bojanowski et al. 2017), so that an unknown word has one too. With a window, each step
    sees the vectors of so many words to each side (Mesnil et al. 2013), zeros beyond the ends.

    Args:
        vocabulary_size: V.
        tags: K.
        buckets: for the parts of words; 0: words have none.
        window: words to each side.
        embedding_size: E.
        initialisation: "torch", "book" or "glorot"; with "torch", vectors of words are normal
            with deviation 1, and of parts, which add up, with 0.2.
        network: what `RecurrentModel` takes.

    Raises:
        ValueError: the backend has no such cell.
    """

    def __init__(
        self,
        vocabulary_size: int,
        tags: int,
        *,
        buckets: int,
        window: int,
        word_dropout: float,
        hidden_size: int,
        embedding_size: int | None,
        initialisation: str,
        **network: object,
    ) -> None:
        size = embedding_size or hidden_size
        super().__init__(
            vocabulary_size,
            hidden_size=hidden_size,
            embedding_size=size,
            more_inputs=2 * window * size,
            **network,  # type: ignore[arg-type]
        )
        self.window, self.word_dropout = window, word_dropout
        self.parts: nn.EmbeddingBag | None = None
        if buckets:
            self.parts = nn.EmbeddingBag(buckets + 1, size, mode="sum", padding_idx=buckets)
            nn.init.normal_(self.parts.weight, std=0.2)
        self.head = nn.Linear(self.stack.output_size, tags)
        self.initialise(initialisation)
        if self.parts is not None:
            nn.init.zeros_(self.parts.weight[buckets])

    def forward(self, inputs: WordInputs) -> Tensor:
        """What is read of some sentences to (T, B, K) logits."""
        words, lengths, parts, places = inputs
        if self.training and self.word_dropout:
            dropped = torch.rand(words.shape, device=words.device) < self.word_dropout
            words = words.masked_fill(dropped, 1)
        assert self.embedding is not None
        xs = self.embedding(words)  # (T, B, E)
        if self.parts is not None:
            xs = xs + F.embedding(places, self.parts(parts))
        xs = self.input_dropout(xs) * valid_steps(lengths, len(words)).unsqueeze(2)
        if self.window:
            around = F.pad(xs, (0, 0, 0, 0, self.window, self.window))
            seen = range(2 * self.window + 1)
            xs = torch.cat([around[shift : shift + len(xs)] for shift in seen], dim=2)
        state = self.stack.initial_state(words.shape[1])
        outputs, _ = self.stack(xs, state, lengths, final_state=False)
        logits: Tensor = self.head(self.output_dropout(outputs))
        return logits
