"""The logits of a classifier for texts, and their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.tasks.classification.model import Classifier
from charlm.tasks.counts import Counts
from charlm.tasks.sequences import ROWS, Sequences, compute_in_batches


@dataclass(frozen=True)
class ClassScores:
    """The scores of a classifier on some texts."""

    nats: float  # summed cross-entropy
    confusion: tuple[tuple[int, ...], ...]  # texts by true label (row) and predicted one (column)

    @property
    def count(self) -> int:
        """The number of texts."""
        return sum(map(sum, self.confusion))

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats per text."""
        return self.nats / self.count

    @property
    def accuracy(self) -> float:
        """The percentage of texts with the right label."""
        right = sum(row[label] for label, row in enumerate(self.confusion))
        return 100 * right / self.count

    @property
    def majority(self) -> float:
        """The accuracy of always predicting the most frequent label, in percent."""
        return 100 * max(map(sum, self.confusion)) / self.count

    def of_label(self, label: int) -> tuple[float, float, float]:
        """Precision, recall and F1 of a label, in percent; 0 where the denominator is 0."""
        counts = Counts(
            correct=self.confusion[label][label],
            found=sum(row[label] for row in self.confusion),
            gold=sum(self.confusion[label]),
        )
        return counts.precision, counts.recall, counts.f1


def batch_inputs(model: Classifier, sequences: Sequences, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) int64 indices of texts to the classifier's (T, B) int64 token ids and (B,) lengths."""
    if model.skip_padding:
        inputs = sequences.padded(rows)
    else:
        inputs = sequences.padded(rows, steps=model.length, before=model.padding == "before")
    return inputs, sequences.lengths[rows].to(inputs.device)


def class_logits(
    model: Classifier,
    sequences: Sequences,
    *,
    chosen: Tensor | None = None,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """The logits of each text, (N, C), or of those with the ``chosen`` indices, on the CPU.

    Other arguments and errors are those of `compute_in_batches`.
    """
    chosen = torch.arange(len(sequences)) if chosen is None else chosen

    def logits(batch: Tensor) -> Tensor:
        output: Tensor = model(*batch_inputs(model, sequences, chosen[batch]))
        return output.float().cpu()

    lengths = sequences.lengths[chosen]
    return torch.stack(
        compute_in_batches(model, lengths, logits, rows=rows, should_stop=should_stop)
    )


def class_scores(logits: Tensor, labels: Sequence[int]) -> ClassScores:
    """The scores of (N, C) logits; ``labels`` are the N true labels."""
    targets = torch.tensor(labels)
    nats = float(F.cross_entropy(logits.double(), targets, reduction="sum"))
    classes = logits.shape[1]
    pairs = targets * classes + logits.argmax(1)
    counts = pairs.bincount(minlength=classes**2).view(classes, classes).tolist()
    return ClassScores(nats if math.isfinite(nats) else math.inf, tuple(map(tuple, counts)))
