"""Training a classifier: batches of texts of similar lengths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.batches import Batches
from charlm.corpus.reviews import Reviews
from charlm.errors import CorpusError
from charlm.evaluation.classification import batch_inputs, class_logits, class_scores
from charlm.evaluation.perplexity import LossSum
from charlm.models.classifier import Classifier
from charlm.recurrent.states import StackState
from charlm.runs import ClassifierRun
from charlm.sequences import Sequences, length_batches
from charlm.training.task import Task

STANDARD = 512  # texts that tell how large features are


def load_sequences(corpus: Reviews, split: str, device: torch.device) -> Sequences:
    """The texts of a split."""
    return Sequences([torch.from_numpy(ids) for ids in corpus.ids(split)], device)


class Classification(Task):
    """Tell the label of each text."""

    higher_is_better = True

    def __init__(self, run: ClassifierRun, corpus: Reviews, device: torch.device) -> None:
        self.batch_size = run.config.training.batch_size
        self.train = load_sequences(corpus, "train", device)
        self.targets = torch.tensor(corpus.labels("train"))
        self.valid, self.valid_labels = (
            load_sequences(corpus, "valid", device),
            corpus.labels("valid"),
        )
        self.train_size, self.valid_size = len(self.train), len(self.valid)
        if not self.train_size:
            raise CorpusError(f"{corpus.source} has no text to train on")

    def prepare(self, model: Classifier) -> None:
        """Where features are standardised: their means and deviations over some of the texts."""
        if model.mean is not None:
            count = min(self.train_size, STANDARD)
            rows = torch.arange(count) * self.train_size // count  # from all parts of the split
            model.fit_normaliser(*batch_inputs(model, self.train, rows))

    def draw_batches(self, generator: torch.Generator) -> Batches[Tensor]:
        """The numbers of the texts of each batch, (B,)."""
        batches = length_batches(self.train.lengths, self.batch_size, generator)
        return Batches(len(batches), batches.__getitem__)

    def loss(
        self, model: Classifier, batch: Tensor, state: StackState | None
    ) -> tuple[Tensor, int, None]:
        """Of the labels."""
        inputs, lengths = batch_inputs(model, self.train, batch)
        targets = self.targets[batch].to(inputs.device)
        logits = model(inputs, lengths).float()
        return F.cross_entropy(logits, targets, reduction="sum"), len(batch), None

    def train_figure(self, loss: LossSum) -> float:
        """The mean cross-entropy, in nats per text."""
        return loss.nats / loss.count

    def score(self, model: Classifier, should_stop: Callable[[], bool]) -> float:
        """The accuracy on the validation split, in percent.

        Raises:
            Stopped: ``should_stop`` said so; the model is as it was.
        """
        logits = class_logits(model, self.valid, should_stop=should_stop)
        return class_scores(logits, self.valid_labels).accuracy
