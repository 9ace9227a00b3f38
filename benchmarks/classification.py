"""Rows: the training of classifiers, beside the same networks in plain PyTorch.

The plain loop is the usual hand-written one: all reviews padded to the preset's length once, a
shuffling DataLoader, nn.Embedding, and nn.RNN or nn.LSTM (packed if the features are the last state
of reviews of different lengths). Features, dropout, clipping, optimiser and precision are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import texts
from benchmarks.harness import Contender, Options, Row, speed
from benchmarks.training import trained
from charlm.corpus import catalogue, locate
from charlm.device import select_precision
from charlm.task import preset_names, settings_from_preset
from charlm.tasks.classification.config import ClassificationConfig, ClassifierSection
from charlm.tasks.classification.reviews import Reviews, load_reviews

CPU = torch.device("cpu")
BATCHES = 10  # of a round


class Plain(nn.Module):
    """The preset's network for (B, length) ids that are padded with 0."""

    def __init__(self, config: ClassifierSection, vocabulary: int, length: int) -> None:
        super().__init__()
        self.config = config
        size, hidden = config.embedding_size, config.hidden_size
        assert size is not None
        assert config.ngrams in (1, 2)
        self.embedding = nn.Embedding(vocabulary, size)
        self.bigrams = nn.Embedding(config.buckets, size) if config.ngrams == 2 else None
        kind: Any = {"rnn": nn.RNN, "lstm": nn.LSTM}[config.cell]
        self.recurrent = kind(size, hidden, batch_first=True, bidirectional=config.bidirectional)
        outputs = hidden * (1 + config.bidirectional)
        features = {"all": length, "mean-max": 2}.get(config.features, 1) * outputs
        self.dense = nn.Linear(features, config.dense_size) if config.dense_size else None
        self.head = nn.Linear(config.dense_size or features, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """(B, length) ids and (B,) lengths to (B,) logits."""
        config = self.config
        if self.training:
            ids = ids.masked_fill(torch.rand(ids.shape) < config.word_dropout, 1)
        xs = self.embedding(ids)
        if self.bigrams is not None:
            pairs = (ids * 1_000_003 + F.pad(ids, (1, 0))[:, :-1]) % config.buckets
            xs = xs + self.bigrams(pairs)
        xs = F.dropout1d(xs.transpose(1, 2), config.input_dropout, self.training).transpose(1, 2)
        if config.features == "last" and config.padding == "after":
            packed = pack_padded_sequence(xs, lengths, batch_first=True, enforce_sorted=False)
            _, (last, _) = self.recurrent(packed)
            features = torch.cat([*last], dim=1)
        else:
            outputs, _ = self.recurrent(xs)
            if config.features == "last":
                features = outputs[:, -1]
            elif config.features == "all":
                features = outputs.flatten(1)
            else:
                ended = (torch.arange(ids.shape[1]) >= lengths.unsqueeze(1)).unsqueeze(2)
                mean = outputs.masked_fill(ended, 0).sum(1) / lengths.unsqueeze(1)
                most = outputs.masked_fill(ended, -torch.inf).amax(1)
                features = torch.cat([mean, most], dim=1)
        features = F.dropout(features, config.output_dropout, self.training)
        if self.dense is not None:
            features = F.relu(self.dense(features))
        logits: Tensor = self.head(features).squeeze(1)
        return logits


def plain_batches(config: ClassificationConfig, corpus: Reviews, batches: int) -> Callable[[], int]:
    """A function that trains for some batches and returns their reviews."""
    length, training = config.corpus.length, config.training
    parts = [torch.from_numpy(ids).long() for ids in corpus.ids("train")]
    lengths = torch.tensor([len(part) for part in parts])
    before = config.model.padding == "before"
    rows = torch.zeros(len(parts), length, dtype=torch.int64)
    for row, part in zip(rows, parts, strict=True):
        row[length - len(part) if before else 0 :][: len(part)] = part
    labels = torch.tensor(corpus.labels("train")).float()
    data = TensorDataset(rows, lengths, labels)
    loader = DataLoader(data, training.batch_size, shuffle=True)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    model = Plain(config.model, len(corpus.vocabulary), length).train()
    kinds: dict[str, Any] = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}
    optimiser = kinds[training.optimiser](model.parameters(), lr=training.lr)
    bfloat16 = select_precision(training.precision, CPU).bfloat16

    def train() -> int:
        seen = 0
        for ids, sizes, targets in itertools.islice(endless, batches):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(ids, sizes)
            loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimiser.step()
            seen += len(targets)
        return seen

    return train


def row(name: str) -> Row:
    """A preset beside the plain loop, on the reviews of IMDB or, without them, on drawn ones."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        imdb = None if options.quick else locate(catalogue()["imdb"])
        source = imdb or texts.reviews(options.folder, options.size(4_000, 600))
        layers = [settings_from_preset("classify", name), {"corpus": {"source": str(source)}}]
        config = ClassificationConfig.from_settings(layers)
        corpus = load_reviews(config.corpus)
        batches = options.size(BATCHES, 1)
        ours = trained(config, corpus, folder / "run", options, batches)
        theirs = plain_batches(config, corpus, batches)
        return {"charlm": speed(ours, CPU), "plain PyTorch": speed(theirs, CPU)}

    return Row(
        name=f"classify/{name}",
        about=f"the preset {name}; the same network in a plain loop",
        unit="reviews/s",
        prepare=prepare,
        rounds=7,
    )


ROWS = tuple(row(name) for name in preset_names("classify"))
