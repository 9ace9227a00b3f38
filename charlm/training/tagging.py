"""Training a tagger: batches of sentences of similar lengths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.batches import Batches
from charlm.corpus.slots import Slots
from charlm.errors import CorpusError
from charlm.evaluation.perplexity import LossSum
from charlm.evaluation.spans import score_spans
from charlm.evaluation.tagging import Sentences, predict_tags, tags_of, words_of
from charlm.models.tagger import Tagger
from charlm.recurrent.states import StackState
from charlm.runs import TaggerRun
from charlm.sequences import Sequences, length_batches
from charlm.training.task import Task


class Tagging(Task):
    """Tell the tag of each word."""

    higher_is_better = True

    def __init__(self, run: TaggerRun, corpus: Slots, device: torch.device) -> None:
        self.batch_size, self.tags = run.config.training.batch_size, run.vocabulary.tags
        splits, settings = corpus.data.splits, (run.vocabulary, run.config.corpus, device)
        self.train = Sentences(words_of(splits["train"]), *settings)
        self.valid = Sentences(words_of(splits["valid"]), *settings)
        if not len(self.train):
            raise CorpusError(f"{corpus.source} has no sentence to train on")
        ids = map(run.vocabulary.encode_tags, tags_of(splits["train"]))
        self.targets = Sequences([torch.tensor(each) for each in ids], device)
        self.valid_tags = tags_of(splits["valid"])
        self.train_size = int(self.train.lengths.sum())
        self.valid_size = int(self.valid.lengths.sum())

    def draw_batches(self, generator: torch.Generator) -> Batches[Tensor]:
        """The numbers of the sentences of each batch, (B,)."""
        batches = length_batches(self.train.lengths, self.batch_size, generator)
        return Batches(len(batches), batches.__getitem__)

    def loss(
        self, model: Tagger, batch: Tensor, state: StackState | None
    ) -> tuple[Tensor, int, None]:
        """Of the tags."""
        logits = model(self.train.inputs(batch)).float().flatten(0, 1)
        targets = self.targets.padded(batch, padding=-1).flatten()
        nats = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
        return nats, int(self.train.lengths[batch].sum()), None

    def train_figure(self, loss: LossSum) -> float:
        """The mean cross-entropy, in nats per word."""
        return loss.nats / loss.count

    def score(self, model: Tagger, should_stop: Callable[[], bool]) -> float:
        """The F1 of the spans of the validation split, in percent.

        Raises:
            Stopped: ``should_stop`` said so; the model is as it was.
        """
        found = predict_tags(model, self.valid, self.tags, should_stop=should_stop)
        return score_spans(self.valid_tags, found).overall.f1
