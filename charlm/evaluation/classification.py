"""How well a classifier tells texts apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.errors import Stopped
from charlm.models.classifier import Classifier
from charlm.models.recurrent_model import evaluating
from charlm.sequences import Sequences, length_batches

ROWS = 256  # texts that are read side by side


@dataclass(frozen=True)
class ClassScores:
    """What became of so many texts.

    Attributes:
        nats: summed cross-entropy.
        confusion: how often a text of one label (row) was given another (column).
    """

    nats: float
    confusion: tuple[tuple[int, ...], ...]

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
        """Texts with the right label, in percent."""
        right = sum(row[label] for label, row in enumerate(self.confusion))
        return 100 * right / self.count

    @property
    def majority(self) -> float:
        """The accuracy of always giving the most frequent label, in percent."""
        return 100 * max(map(sum, self.confusion)) / self.count

    def of_label(self, label: int) -> tuple[float, float, float]:
        """Precision, recall and F1 of a label, in percent; 0 where there is nothing to divide."""
        right = self.confusion[label][label]
        given = sum(row[label] for row in self.confusion)
        present = sum(self.confusion[label])
        precision = 100 * right / given if given else 0.0
        recall = 100 * right / present if present else 0.0
        f1 = 200 * right / (given + present) if right else 0.0
        return precision, recall, f1


def batch_inputs(model: Classifier, sequences: Sequences, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What a classifier reads of some texts: (T, B) int64 token ids and (B,) lengths.

    Args:
        rows: (B,) int64, their numbers.
    """
    if model.skip_padding:
        inputs = sequences.padded(rows)
    else:
        before = model.padding == "before"
        inputs = sequences.padded(rows, steps=model.length, before=before)
    return inputs, sequences.lengths[rows].to(inputs.device)


@torch.no_grad()
def class_logits(
    model: Classifier,
    sequences: Sequences,
    *,
    rows: int = ROWS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """The logits of each text, (N, C), on the CPU.

    Args:
        model: in any mode; it is in the same mode afterwards.
        rows: texts that are read side by side, which changes nothing but the time.
        should_stop: asked before each of these.

    Raises:
        Stopped: ``should_stop`` said so; the model is as it was.
    """
    parts, order = [], length_batches(sequences.lengths, rows)
    with evaluating(model):
        for batch in order:
            if should_stop():
                raise Stopped
            parts.append(model(*batch_inputs(model, sequences, batch)).float().cpu())
    return torch.cat(parts)[torch.cat(order).argsort()]


def class_scores(logits: Tensor, labels: Sequence[int]) -> ClassScores:
    """Compare (N, C) logits with the right labels, one each."""
    targets = torch.tensor(labels)
    nats = float(F.cross_entropy(logits.double(), targets, reduction="sum"))
    classes = logits.shape[1]
    pairs = targets * classes + logits.argmax(1)
    counts = pairs.bincount(minlength=classes**2).view(classes, classes).tolist()
    return ClassScores(nats if math.isfinite(nats) else math.inf, tuple(map(tuple, counts)))
