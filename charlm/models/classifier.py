"""A classifier of texts: recurrent layers, features of their outputs, a head.

T steps, B batch, O output of the top layer, F features, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.models.recurrent_model import RecurrentModel, evaluating
from charlm.recurrent.padding import valid_steps


class Classifier(RecurrentModel):
    """A sequence of token ids to the logits of its classes.

    Two classes have one logit, that of the second against the first.

    Args:
        vocabulary_size: V.
        classes: C.
        unknown: the id that word dropout puts in a token's place.
        length: T at the most; of the features "all", and of padding that is not skipped, T.
        features: "last", "all", "mean", "max" or "mean-max", see `charlm.config`.
        padding: "before" or "after"; where the shorter ones are filled up for "all".
        skip_padding: whether the layers leave it out.
        standardise: whether each feature is shifted and scaled, by what `take_standard` finds, to
            mean 0 and deviation 1: a language model's states vary little around large constants.
        ngrams: beside each token, the vectors of the 2-, ..., n-grams that it ends are added to its
            own, hashed into buckets (Joulin et al. 2017, arXiv:1607.01759); 1: none.
        buckets: for each n.
        dense_size: units between features and head; 0: none.
        embedding: "learned" or "one-hot".
        embedding_size: E; None: 64, or H where that is less.
        initialisation: "torch", "book" or "glorot".
        tune: whether embedding and recurrent layers learn.
        network: what `RecurrentModel` takes.

    Raises:
        ValueError: the backend has no such cell.
    """

    def __init__(
        self,
        vocabulary_size: int,
        classes: int,
        *,
        unknown: int,
        length: int,
        features: str,
        padding: str,
        skip_padding: bool,
        standardise: bool,
        ngrams: int,
        buckets: int,
        dense_size: int,
        word_dropout: float,
        hidden_size: int,
        embedding: str,
        embedding_size: int | None,
        initialisation: str,
        tune: bool,
        **network: object,
    ) -> None:
        size = None if embedding == "one-hot" else embedding_size or min(hidden_size, 64)
        super().__init__(
            vocabulary_size,
            hidden_size=hidden_size,
            embedding_size=size,
            **network,  # type: ignore[arg-type]
        )
        self.unknown, self.length, self.word_dropout = unknown, length, word_dropout
        self.features, self.padding, self.skip_padding = features, padding, skip_padding
        tables = (nn.Embedding(buckets, size or 1) for _ in range(ngrams - 1))
        self.ngrams = nn.ModuleList(tables)
        outputs = self.stack.output_size
        count = {"all": length, "mean-max": 2}.get(features, 1) * outputs
        self.dense = nn.Linear(count, dense_size) if dense_size else None
        self.head = nn.Linear(dense_size or count, classes if classes > 2 else 1)
        self.initialise(initialisation, embedding_bound=0.1)
        for table in self.ngrams.parameters():
            nn.init.zeros_(table)  # so that rare ones say nothing
        self.mean = self.deviation = None
        if standardise:  # learned from the data, but not by gradients
            self.mean = nn.Parameter(torch.zeros(count), requires_grad=False)
            self.deviation = nn.Parameter(torch.ones(count), requires_grad=False)
        if not tune:
            for module in (self.embedding, self.ngrams, self.stack):
                if module is not None:
                    module.requires_grad_(False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Token ids to logits.

        Args:
            inputs: (T, B) int64; padded behind, or, where padding is not skipped, to ``length``
                steps on the side where the padding belongs.
            lengths: (B,) int64, the tokens of each row.

        Returns:
            (B, C); of two classes, the first has the logit 0.
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
        """(T, B, O) of the layers, and how many steps of each row count."""
        state = self.stack.initial_state(inputs.shape[1])
        skipped = lengths if self.skip_padding else None
        outputs, _ = self.stack(self.embed(inputs), state, skipped, final_state=False)
        return outputs, lengths if self.skip_padding else torch.full_like(lengths, len(inputs))

    def _dropped(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, F) features, with dropout."""
        if self.mean is None or self.deviation is None:
            return self._features(self.output_dropout(outputs), lengths)
        features = (self._features(outputs, lengths) - self.mean) / self.deviation
        dropped: Tensor = self.output_dropout(features.unsqueeze(0)).squeeze(0)
        return dropped

    @torch.no_grad()
    def take_standard(self, inputs: Tensor, lengths: Tensor) -> None:
        """Take the features' means and deviations over some rows; see `forward` for these."""
        assert self.mean is not None
        assert self.deviation is not None
        with evaluating(self):
            features = self._features(*self._outputs(inputs, lengths))
        self.mean.copy_(features.mean(0))
        deviation = features.std(0)
        # What is the same in all of them, such as a unit that is never on, must not become huge
        # where it is not.
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1))

    def embed(self, inputs: Tensor) -> Tensor:
        """(T, B) int64 token ids to what the stack reads: (T, B, E), or the ids themselves."""
        if self.embedding is None:
            return inputs
        xs = self.embedding(inputs)
        hashed = inputs
        for back, table in enumerate(self.ngrams.parameters(), 1):
            earlier = F.pad(inputs, (0, 0, back, 0))[: len(inputs)]
            hashed = (hashed * 1_000_003 + earlier) % 2_147_483_647  # two primes, within 64 bits
            xs = xs + F.embedding(hashed % len(table), table)
        dropped: Tensor = self.input_dropout(xs)
        return dropped

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
        """What each direction gives at its last step: a row's last, and the first."""
        rows = torch.arange(outputs.shape[1], device=outputs.device)
        last = outputs[lengths - 1, rows]  # (B, O)
        if not self.bidirectional:
            return last
        half = last.shape[1] // 2
        return torch.cat([last[:, :half], outputs[0, :, half:]], dim=1)

    def _all(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """All steps side by side, filled up with zeros to ``length`` of them."""
        missing = self.length - len(outputs)
        outputs = F.pad(outputs, (0, 0, 0, 0, 0, missing))  # (length, B, O)
        if self.padding == "before" and self.skip_padding:
            steps = torch.arange(self.length, device=outputs.device).unsqueeze(1)
            # Each row is turned until its end stands at the end; the padding comes to its start.
            sources = (steps + lengths) % self.length  # (length, B)
            outputs = outputs[sources, torch.arange(outputs.shape[1], device=outputs.device)]
        return outputs.transpose(0, 1).flatten(1)
