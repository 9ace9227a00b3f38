"""A tagger: a tag for each word of a sentence.

Symbols in shapes: T steps, B batch, E embedding, U distinct words, M parts of a word, K tags.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.build import build_layers
from charlm.models.recurrent_model import RecurrentModel
from charlm.recurrent.initialisation import initialise
from charlm.recurrent.padding import valid_steps
from charlm.recurrent.stack import Stack
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.slots import TaggerVocabulary


class WordInputs(NamedTuple):
    """The words of some sentences and the parts of these words."""

    words: Tensor  # (T, B) int64, padded at the end
    lengths: Tensor  # (B,) int64
    parts: Tensor  # (U, M) int64, of each distinct word, padded with the number of buckets
    places: Tensor  # (T, B) int64, the index of each word among the distinct words


class Tagger(RecurrentModel):
    """Words to the logits of their tags.

    A word's vector is its own plus the vectors of its parts, character n-grams and shape, hashed
    into buckets (Bojanowski et al. 2017), so that an unknown word has a vector too.
    `build_tagger` makes one from a configuration.

    Args:
        embedding: the table of words, (V, E).
        stack: the recurrent layers, with (2 * window + 1) * E inputs.
        parts: the table of parts, (buckets + 1, E), whose last row is the padding; None: a word
            has no parts.
        head: the outputs of the stack to K logits.
        window: the number of words on each side that each step sees (Mesnil et al. 2013), zeros
            beyond the ends of the sentence.
        word_dropout: probability that a word becomes unknown, in training.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        stack: Stack,
        parts: nn.EmbeddingBag | None,
        head: nn.Linear,
        *,
        window: int,
        word_dropout: float,
        input_dropout: float,
        output_dropout: float,
    ) -> None:
        super().__init__(
            embedding, stack, input_dropout=input_dropout, output_dropout=output_dropout
        )
        self.window, self.word_dropout = window, word_dropout
        self.parts = parts
        self.head = head

    def forward(self, inputs: WordInputs) -> Tensor:
        """The words of some sentences to (T, B, K) logits."""
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
        outputs = self.stack.outputs(xs, state, lengths)
        logits: Tensor = self.head(self.output_dropout(outputs))
        return logits


def build_tagger(config: TaggingConfig, vocabulary: TaggerVocabulary) -> Tagger:
    """A freshly initialised tagger; torch's global generator decides its weights.

    With the initialisation "torch", the vectors of words have standard deviation 1, and those of
    parts, of which several are added, 0.2.

    Raises:
        ValueError: the backend has no such cell.
    """
    model, corpus = config.model, config.corpus
    size = model.embedding_size or model.hidden_size
    embedding = nn.Embedding(len(vocabulary), size)
    inputs = (2 * model.window + 1) * size
    stack = build_layers(model, inputs, bidirectional=model.bidirectional)
    parts = None
    if corpus.ngrams or corpus.shapes:
        padding = corpus.buckets
        parts = nn.EmbeddingBag(padding + 1, size, mode="sum", padding_idx=padding)
        nn.init.normal_(parts.weight, std=0.2)
    head = nn.Linear(stack.output_size, len(vocabulary.tags))
    initialise(model.initialisation, [embedding, stack, parts, head])
    if parts is not None:
        nn.init.zeros_(parts.weight[corpus.buckets])
    return Tagger(
        embedding,
        stack,
        parts,
        head,
        window=model.window,
        word_dropout=model.word_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )
