"""A character-level recurrent language model.

Symbols in shapes: T steps, B batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.build import build_layers, embedding_size, narrow_embedding
from charlm.models.ngram_embedding import NGramEmbedding
from charlm.models.recurrent_model import RecurrentModel, check_same_shapes
from charlm.recurrent.initialisation import initialise
from charlm.recurrent.stack import Stack
from charlm.recurrent.states import StackState
from charlm.tasks.language_model.batches import PADDING
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.output_loss import LEAST_VOCABULARY, output_loss
from charlm.tasks.language_model.penalties import (
    PastDecoder,
    add_activation_gradient,
    add_gradient,
)


class LanguageModel(RecurrentModel):
    """Token ids to the logits of the next ones.

    `build_language_model` makes one from a configuration.

    Args:
        embedding: the table; None: one-hot vectors. A tied head has the same weights (Press and
            Wolf 2017, arXiv:1608.05859).
        stack: the recurrent layers, in one direction.
        head: the outputs of the stack to V logits. With ``ngrams``, it also sees the input of the
            stack, after its outputs.
        ngrams: embeddings of the last characters, which are added to ``embedding``; None: none.
        input_dropout, output_dropout: probabilities of locked dropout, as in `RecurrentModel`.
        embedding_dropout: probability that a row of the table is zero, drawn once per batch (Gal
            and Ghahramani 2016, arXiv:1512.05287; Merity et al. 2018, arXiv:1708.02182).
        activation, temporal_activation: weights of the terms of `activation_penalty`.
        past_decode: weight of the penalty of ``past_decoder``.
        past_decoder: for the penalty; None where the weight is 0.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        stack: Stack,
        head: nn.Linear,
        *,
        ngrams: NGramEmbedding | None = None,
        input_dropout: float,
        output_dropout: float,
        embedding_dropout: float = 0.0,
        activation: float = 0.0,
        temporal_activation: float = 0.0,
        past_decode: float = 0.0,
        past_decoder: PastDecoder | None = None,
    ) -> None:
        super().__init__(
            embedding, stack, input_dropout=input_dropout, output_dropout=output_dropout
        )
        self.head = head
        self.ngrams = ngrams
        self.embedding_dropout = embedding_dropout
        self.activation, self.temporal_activation = activation, temporal_activation
        self.past_decode, self.past_decoder = past_decode, past_decoder

    def initial_state(self, batch_size: int) -> StackState:
        """The layers' initial states; with ``ngrams``, also the characters before the text."""
        state = super().initial_state(batch_size)
        return state if self.ngrams is None else (*state, self.ngrams.initial_context(batch_size))

    def _characters(self, inputs: Tensor, embedding: nn.Embedding) -> Tensor:
        """(T, B) int64 token ids to their (T, B, E) vectors, with embedding dropout."""
        weight = embedding.weight
        if self.training and self.embedding_dropout:
            kept = F.dropout(torch.ones_like(weight[:, :1]), self.embedding_dropout)  # (V, 1)
            weight = weight * kept
        return F.embedding(inputs, weight)

    def forward(self, inputs: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """(T, B) token ids and a state to (T, B, V) logits and the state after them."""
        _, _, seen, state = self._run(inputs, state)
        return self.head(seen), state

    def loss(self, inputs: Tensor, targets: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """The summed cross-entropy of `forward`'s logits in nats, and the state after them.

        In training, its gradient is that of the loss with the penalties. With a large vocabulary on
        the CPU, not all logits are in memory at once, see `output_loss`, unless a penalty needs
        them.

        Args:
            inputs: (T, B) token ids.
            targets: (T, B) ids to predict; ``PADDING`` where there is none.
        """
        outputs, dropped, seen, state = self._run(inputs, state)
        decodes = self.training and self.past_decoder is not None
        small = self.vocabulary_size < LEAST_VOCABULARY or outputs.device.type != "cpu"
        if small or decodes:
            logits = self.head(seen).to(torch.get_default_dtype())
            loss = cross_entropy_sum(logits, targets)
        else:
            head, rows = self.head, seen.flatten(0, 1)
            loss = output_loss(rows, head.weight, head.bias, targets.flatten().long())
        if self.training and (self.activation or self.temporal_activation):
            weights = {"norm": self.activation, "change": self.temporal_activation}
            loss = add_activation_gradient(loss, outputs, dropped, targets, **weights)
        if decodes and self.embedding is not None and self.past_decoder is not None:
            last = inputs.long().where(targets != PADDING, PADDING)
            penalty = self.past_decoder(logits, self.embedding.weight, last)
            loss = add_gradient(loss, self.past_decode * penalty, targets)
        return loss, state

    def _run(self, inputs: Tensor, state: StackState) -> tuple[Tensor, Tensor, Tensor, StackState]:
        """(T, B) token ids to the (T, B, O) outputs of the layers and the state after them.

        Between them are the outputs with dropout, and the input of the head: these, and with
        ``ngrams`` the input of the layers too.
        """
        vectors, layers, *context = self.vectors(inputs.long(), state)
        outputs, layers = self.stack(vectors, layers)
        dropped = seen = self.output_dropout(outputs)
        if context:
            seen = torch.cat([dropped, vectors.to(dropped.dtype)], dim=-1)
        return outputs, dropped, seen, (*layers, *context)

    def vectors(self, inputs: Tensor, state: StackState) -> tuple[Any, ...]:
        """(T, B) int64 token ids and a state to the input and the state of the stack.

        Returns:
            (T, B, E) vectors, or the ids if one-hot; the state of the layers; and with ``ngrams``
            the context after the inputs.
        """
        if self.embedding is None:
            return inputs, state
        vectors = self._characters(inputs, self.embedding)
        if self.ngrams is None:
            return self.input_dropout(vectors), state
        *layers, context = state
        sums, context = self.ngrams(inputs, context)
        return self.input_dropout(vectors + sums), tuple(layers), context

    def read(self, inputs: Tensor, state: StackState) -> StackState:
        """The state after (T, B) int64 token ids, without logits."""
        return self._run(inputs, state)[-1]

    def _layer_parameters(self) -> list[nn.Parameter]:
        ngrams = [] if self.ngrams is None else self.ngrams.parameters()
        return [*super()._layer_parameters(), *ngrams]

    @torch.no_grad()
    def take_weights(
        self, source: LanguageModel, ids: Sequence[int | None], larger: LanguageModel
    ) -> None:
        """Copy the weights of a model of another vocabulary; only its dropout may differ too.

        The weights that belong to a character are rows of the embedding and the output layer, or,
        with one-hot inputs, of the first recurrent layer. The tables of n-grams are copied only if
        the characters have the same ids in both: a row is chosen by a hash of ids.

        Args:
            ids: for each token id here, (V,), its id in the source; None: the character is new,
                and its weights stay as they are.
            larger: a model like this one with one more character, perhaps without numbers. Its
                shapes show which dimension of each tensor belongs to the characters.

        Raises:
            UsageError: the layers are not of the same kinds and sizes.
        """
        here = torch.tensor([number for number, other in enumerate(ids) if other is not None])
        there = torch.tensor([other for other in ids if other is not None])
        ours, theirs, more = (list(each.parameters()) for each in (self, source, larger))
        by_character = [
            [dimension for dimension, size in enumerate(each.shape) if size != shape[dimension]]
            for each, shape in zip(ours, (each.shape for each in more), strict=True)
        ]
        check_same_shapes(ours, theirs, by_character)
        for our, their, dimensions in zip(ours, theirs, by_character, strict=True):
            if self.ngrams is not None and our is self.ngrams.table and not same_ids(ids):
                continue
            copied: Tensor = their
            for dimension in dimensions:  # one at most
                copied = our.index_copy(dimension, here, their.index_select(dimension, there))
            our.copy_(copied)


def same_ids(ids: Sequence[int | None]) -> bool:
    """Whether no character has another id in the source; as of `LanguageModel.take_weights`."""
    return all(other in (None, number) for number, other in enumerate(ids))


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum of the cross-entropies, in nats, of (..., V) logits and (...) targets."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten().long(), reduction="sum")


def build_language_model(config: LanguageModelSection, vocabulary_size: int) -> LanguageModel:
    """A freshly initialised language model; torch's global generator decides its weights.

    Raises:
        ValueError: the backend has no such cell.
    """
    size = config.hidden_size if config.embedding == "tied" else embedding_size(config)
    one_hot = config.embedding == "one-hot"
    embedding = None if one_hot else nn.Embedding(vocabulary_size, size)
    stack = build_layers(config, vocabulary_size if one_hot else size, bidirectional=False)
    order = config.ngram_order
    ngrams = None
    if order > 1:
        ngrams = NGramEmbedding(order, config.ngram_rows, size, config.ngram_dropout)
    head = nn.Linear(stack.output_size + (size if ngrams else 0), vocabulary_size)
    initialise(config.initialisation, [embedding, stack, head])
    narrow_embedding(embedding, config)
    past_decoder = PastDecoder(vocabulary_size, size) if config.past_decode else None
    initialise(config.initialisation, [past_decoder])  # last: the others are drawn as without it
    if config.embedding == "tied" and embedding is not None:
        head.weight = embedding.weight
    if config.freeze:
        stack.requires_grad_(False)
    return LanguageModel(
        embedding,
        stack,
        head,
        ngrams=ngrams,
        input_dropout=config.input_dropout,
        output_dropout=config.output_dropout,
        embedding_dropout=config.embedding_dropout,
        activation=config.activation,
        temporal_activation=config.temporal_activation,
        past_decode=config.past_decode,
        past_decoder=past_decoder,
    )
