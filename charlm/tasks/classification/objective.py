"""Train a classifier: batches of texts of similar lengths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.errors import CorpusError
from charlm.processes import world
from charlm.recurrent.states import StackState
from charlm.runs import Run
from charlm.tasks.classification.model import Classifier
from charlm.tasks.classification.reviews import Reviews
from charlm.tasks.classification.scores import batch_inputs, class_logits, class_scores
from charlm.tasks.sequences import SequenceObjective, Sequences, spread

NORMALISER_TEXTS = 512  # the number of texts that the normaliser of the features is fitted on


def load_sequences(corpus: Reviews, split: str, device: torch.device) -> Sequences:
    """The texts of a split."""
    return Sequences([torch.from_numpy(ids) for ids in corpus.ids(split)], device)


class LabelOfText(SequenceObjective):
    """Predict the label of each text."""

    most_scored = 10_000

    def __init__(self, run: Run, corpus: Reviews, device: torch.device) -> None:
        self.task = run.task
        self.batch_size = run.config.training.batch_size
        self.train = load_sequences(corpus, "train", device)
        self.lengths = self.train.lengths
        self.targets = torch.tensor(corpus.labels("train"))
        self.weights = None  # (C,) of the labels
        if wanted := run.config.training.class_weights:
            weights = corpus.class_weights(wanted)
            self.weights = torch.tensor([*weights.values()], device=device)
        self.valid = load_sequences(corpus, "valid", device)
        self.valid_labels = corpus.labels("valid")
        self.train_size, self.valid_size = len(self.train), len(self.valid)
        if not self.train_size:
            raise CorpusError(f"{corpus.source} has no text to train on")

    def prepare(self, model: Classifier) -> None:
        """Fit the normaliser of the features, if there is one, on some of the texts."""
        if model.mean is not None:
            count = min(self.train_size, NORMALISER_TEXTS)
            rows = torch.arange(count) * self.train_size // count  # from all parts of the split
            model.fit_normaliser(*batch_inputs(model, self.train, rows))

    def loss(
        self, model: Classifier, batch: Tensor, state: StackState | None
    ) -> tuple[Tensor, int, None]:
        """The cross-entropy of the labels, each text's times the weight of its label."""
        inputs, lengths = batch_inputs(model, self.train, batch)
        targets = self.targets[batch].to(inputs.device)
        logits = model(inputs, lengths).to(torch.get_default_dtype())
        nats = F.cross_entropy(logits, targets, self.weights, reduction="sum")
        return nats, len(batch), None

    def score(self, model: Classifier, size: int, should_stop: Callable[[], bool]) -> float:
        """The accuracy on the validation split, or on some of its texts, in percent."""
        chosen = spread(self.valid_size, size)
        logits = world().share_out(
            chosen,
            lambda own: class_logits(model, self.valid, chosen=own, should_stop=should_stop),
        )
        return class_scores(
            torch.stack(logits), [self.valid_labels[text] for text in chosen.tolist()]
        ).accuracy
