"""Compare the training speed of the IMDB presets with the same networks in plain PyTorch.

    python benchmarks/classify_speed.py --data aclImdb.tar.gz [--pairs N] [--batches N]

N batches of charlm and N batches of a plain loop alternate. The plain loop is the usual
hand-written one: all reviews padded to the preset's length once, a shuffling DataLoader,
nn.Embedding, and nn.RNN or nn.LSTM (packed if the features are the last state of reviews of
different lengths). Features, dropout, clipping, optimiser and precision are the same. The script
prints a Markdown table with the median reviews per second, and the ratio of each pair with its
range.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

from charlm.device import select_precision
from charlm.runs import Run
from charlm.task import preset_names, settings_from_preset
from charlm.tasks.classification.config import ClassificationConfig, ClassifierSection
from charlm.tasks.classification.reviews import Reviews, load_reviews
from charlm.training.loop import open_trainer

CPU = torch.device("cpu")


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


def our_batches(
    config: ClassificationConfig, corpus: Reviews, folder: Path
) -> Callable[[int], int]:
    """A function that trains on a number of batches and returns their number of reviews."""
    run = Run.create(folder, config, corpus)
    trainer = open_trainer(run, corpus, CPU)[0]

    def train(batches: int) -> int:
        before = trainer.progress.items
        for _ in range(batches):
            trainer.update()
        return trainer.progress.items - before

    return train


def plain_batches(config: ClassificationConfig, corpus: Reviews) -> Callable[[int], int]:
    """The same function in plain PyTorch."""
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

    def train(batches: int) -> int:
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


def speed(train: Callable[[int], int], batches: int) -> float:
    """Reviews per second."""
    started = time.perf_counter()
    return train(batches) / (time.perf_counter() - started)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(
        f"torch {torch.__version__}, cpu, {torch.get_num_threads()} thread(s); medians of "
        f"{arguments.pairs} pairs of {arguments.batches} batches\n"
    )
    print("| preset | charlm reviews/s | plain PyTorch reviews/s | ratio | least to greatest |")
    print("| --- | --- | --- | --- | --- |")
    for name in preset_names("classify"):
        layers = [settings_from_preset("classify", name), {"corpus": {"source": arguments.data}}]
        config = ClassificationConfig.from_settings(layers)
        corpus = load_reviews(config.corpus)
        with tempfile.TemporaryDirectory() as folder:
            ours = our_batches(config, corpus, Path(folder) / "run")
            theirs = plain_batches(config, corpus)
            pairs = [
                (speed(ours, arguments.batches), speed(theirs, arguments.batches))
                for _ in range(arguments.pairs + 1)
            ][1:]  # the first is for warming up
        ratios = [mine / yours for mine, yours in pairs]
        print(
            f"| `{name}` | {statistics.median(m for m, _ in pairs):,.0f} "
            f"| {statistics.median(y for _, y in pairs):,.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
