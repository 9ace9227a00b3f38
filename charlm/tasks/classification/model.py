"""A classifier of texts: recurrent layers, features of their outputs, a head.

Symbols in shapes: T steps, B batch, E embedding, O output of the top layer, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.build import build_layers, embedding_size, narrow_embedding
from charlm.models.ngram_embedding import NGramEmbedding
from charlm.models.recurrent_model import RecurrentModel, evaluating
from charlm.recurrent.initialisation import initialise
from charlm.recurrent.padding import valid_steps
from charlm.recurrent.stack import Stack
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.reviews import ReviewVocabulary


class Classifier(RecurrentModel):
    """A sequence of token ids to the logits of its classes.

    With two classes the head has one logit, that of the second class against the first.
    `build_classifier` makes one from a configuration.

    Args:
        embedding: the table; None: one-hot vectors.
        ngrams: a table for the 2-grams, one for the 3-grams, ... The vectors of the n-grams that
            end at a token, hashed into the rows of the tables, are added to the token's vector
            (Joulin et al. 2017, arXiv:1607.01759).
        source_ngrams: the n-grams of a language model, which are added too; None: none.
        stack: the recurrent layers.
        dense: a layer with ReLU between features and head; None: no such layer.
        head: to C logits, or to one for two classes.
        unknown: the id that word dropout puts in a token's place.
        length: the maximum of T. T itself for the features "all", and where padding is read.
        features: "last", "all", "mean", "max" or "mean-max", see `charlm.config`.
        padding: "before" or "after": where shorter sequences are padded for "all".
        skip_padding: whether the recurrent layers skip the padding.
        standardise: whether each feature is shifted and scaled to mean 0 and standard deviation 1,
            after `fit_normaliser`. A language model's states vary little around large constants.
        freeze: whether embedding, n-grams and recurrent layers keep their weights in training.
        word_dropout: probability that a token becomes unknown, in training.
        output_dropout: probability of dropout on the features.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        ngrams: Iterable[nn.Embedding],
        source_ngrams: NGramEmbedding | None,
        stack: Stack,
        dense: nn.Linear | None,
        head: nn.Linear,
        *,
        unknown: int,
        length: int,
        features: str,
        padding: str,
        skip_padding: bool,
        standardise: bool,
        freeze: bool,
        word_dropout: float,
        input_dropout: float,
        output_dropout: float,
    ) -> None:
        super().__init__(
            embedding, stack, input_dropout=input_dropout, output_dropout=output_dropout
        )
        self.unknown, self.length, self.word_dropout = unknown, length, word_dropout
        self.features, self.padding, self.skip_padding = features, padding, skip_padding
        self.ngrams = nn.ModuleList(ngrams)
        self.source_ngrams = source_ngrams
        self.dense = dense
        self.head = head
        self.mean = self.deviation = None
        if standardise:  # computed from the data, not learned by gradients
            count = (dense or head).in_features
            self.mean = nn.Parameter(torch.zeros(count), requires_grad=False)
            self.deviation = nn.Parameter(torch.ones(count), requires_grad=False)
        if freeze:
            for module in (embedding, self.ngrams, source_ngrams, stack):
                if module is not None:
                    module.requires_grad_(False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Token ids to logits.

        Args:
            inputs: (T, B) int64. The padding is at the end if the layers skip it. If they read it,
                T is ``length`` and the padding is on the side of ``padding``.
            lengths: (B,) int64, the number of tokens of each row.

        Returns:
            (B, C). With two classes, the first has the logit 0.
        """
        if self.training and self.word_dropout:
            dropped = torch.rand(inputs.shape, device=inputs.device) < self.word_dropout
            inputs = inputs.masked_fill(dropped & (inputs != 0), self.unknown)  # 0: padding
        outputs, lengths = self._outputs(inputs, lengths)
        features = self._dropped(outputs, lengths)  # (B, F)
        if self.dense is not None:
            features = F.relu(self.dense(features))
        logits = self.head(features)
        return F.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits

    def _outputs(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, O) outputs of the layers, and the (B,) number of valid steps of each row."""
        state = self.stack.initial_state(inputs.shape[1])
        skipped = lengths if self.skip_padding else None
        outputs = self.stack.outputs(self.embed(inputs), state, skipped)
        return outputs, lengths if self.skip_padding else torch.full_like(lengths, len(inputs))

    def _dropped(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, F) features, with dropout."""
        if self.mean is None or self.deviation is None:
            return self._features(self.output_dropout(outputs), lengths)
        features = (self._features(outputs, lengths) - self.mean) / self.deviation
        dropped: Tensor = self.output_dropout(features.unsqueeze(0)).squeeze(0)
        return dropped

    @torch.no_grad()
    def fit_normaliser(self, inputs: Tensor, lengths: Tensor) -> None:
        """Set the features' means and standard deviations to those of some rows, see `forward`."""
        assert self.mean is not None
        assert self.deviation is not None
        with evaluating(self):
            features = self._features(*self._outputs(inputs, lengths))
        self.mean.copy_(features.mean(0))
        deviation = features.std(0)
        # A feature that is the same in all rows, such as a unit that is always 0, must not become
        # huge in other rows.
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))

    def embed(self, inputs: Tensor) -> Tensor:
        """(T, B) int64 token ids to the stack's input: (T, B, E), or the ids if one-hot."""
        if self.embedding is None:
            return inputs
        xs = self.embedding(inputs)
        hashed = inputs
        for back, table in enumerate(self.ngrams.parameters(), 1):
            earlier = F.pad(inputs, (0, 0, back, 0))[: len(inputs)]
            hashed = (hashed * 1_000_003 + earlier) % 2_147_483_647  # two primes, within 64 bits
            xs = xs + F.embedding(hashed % len(table), table)
        if self.source_ngrams is not None:
            before = self.source_ngrams.initial_context(inputs.shape[1])
            xs = xs + self.source_ngrams(inputs, before)[0]
        dropped: Tensor = self.input_dropout(xs)
        return dropped

    def _layer_parameters(self) -> list[nn.Parameter]:
        ngrams = [] if self.source_ngrams is None else self.source_ngrams.parameters()
        return [*super()._layer_parameters(), *ngrams]

    def _features(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, O) outputs and (B,) lengths to (B, F)."""
        if self.features == "last":
            return self._last(outputs, lengths)
        if self.features == "all":
            return self._all(outputs, lengths)
        found = []
        if "mean" in self.features:
            found.append(outputs.sum(0) / lengths.unsqueeze(1))  # zeros after a row's end
        if "max" in self.features:
            ended = ~valid_steps(lengths, len(outputs)).unsqueeze(2)  # (T, B, 1)
            found.append(outputs.masked_fill(ended, -torch.inf).amax(0))
        return torch.cat(found, dim=1)

    def _last(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, O) outputs of each direction's last step: the row's last step, and its first."""
        rows = torch.arange(outputs.shape[1], device=outputs.device)
        last = outputs[lengths - 1, rows]  # (B, O)
        if not self.stack.bidirectional:
            return last
        half = last.shape[1] // 2
        return torch.cat([last[:, :half], outputs[0, :, half:]], dim=1)

    def _all(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, length * O): all steps concatenated, with zeros for the missing ones."""
        missing = self.length - len(outputs)
        outputs = F.pad(outputs, (0, 0, 0, 0, 0, missing))  # (length, B, O)
        if self.padding == "before" and self.skip_padding:
            steps = torch.arange(self.length, device=outputs.device).unsqueeze(1)
            # Rotate each row until its last token is at the end and the padding at the start.
            sources = (steps + lengths) % self.length  # (length, B)
            outputs = outputs[sources, torch.arange(outputs.shape[1], device=outputs.device)]
        return outputs.transpose(0, 1).flatten(1)


def build_classifier(config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
    """A freshly initialised classifier; torch's global generator decides its weights.

    Raises:
        ValueError: the backend has no such cell.
    """
    model, length = config.model, config.corpus.length
    size, one_hot = embedding_size(model), model.embedding == "one-hot"
    embedding = None if one_hot else nn.Embedding(len(vocabulary), size)
    inputs = len(vocabulary) if one_hot else size
    stack = build_layers(model, inputs, bidirectional=model.bidirectional)
    ngrams = [nn.Embedding(model.buckets, size) for _ in range(model.ngrams - 1)]
    source_ngrams = None
    if model.ngram_order > 1:
        source_ngrams = NGramEmbedding(model.ngram_order, model.ngram_rows, size, dropout=0.0)
    count = {"all": length, "mean-max": 2}.get(model.features, 1) * stack.output_size
    dense = nn.Linear(count, model.dense_size) if model.dense_size else None
    classes = len(vocabulary.labels)
    head = nn.Linear(model.dense_size or count, classes if classes > 2 else 1)
    initialise(model.initialisation, [embedding, stack, *ngrams, dense, head])
    narrow_embedding(embedding, model)
    for table in ngrams:  # an n-gram that training never sees changes nothing
        nn.init.zeros_(table.weight)
    return Classifier(
        embedding,
        ngrams,
        source_ngrams,
        stack,
        dense,
        head,
        unknown=vocabulary.unknown,
        length=length,
        features=model.features,
        padding=model.padding,
        skip_padding=model.skip_padding,
        standardise=model.standardise,
        freeze=model.freeze,
        word_dropout=model.word_dropout,
        input_dropout=model.input_dropout,
        output_dropout=model.output_dropout,
    )
