"""Train a tagger: batches of sentences of similar lengths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.errors import CorpusError
from charlm.processes import world
from charlm.recurrent.states import StackState
from charlm.runs import Run
from charlm.tasks.sequences import SequenceObjective, Sequences, spread
from charlm.tasks.tagging.model import Tagger
from charlm.tasks.tagging.scores import Sentences, predict_tags, tags_of, words_of
from charlm.tasks.tagging.slots import Slots
from charlm.tasks.tagging.spans import score_spans


class TagOfWord(SequenceObjective):
    """Predict the tag of each word."""

    def __init__(self, run: Run, corpus: Slots, device: torch.device) -> None:
        self.task = run.task
        self.batch_size, self.tags = run.config.training.batch_size, run.vocabulary.tags
        self.of_words = run.vocabulary.tags_are_of_words(run.config.corpus)
        splits, settings = corpus.data.splits, (run.vocabulary, run.config.corpus, device)
        self.train = Sentences(words_of(splits["train"]), *settings)
        self.valid = Sentences(words_of(splits["valid"]), *settings)
        if not len(self.train):
            raise CorpusError(f"{corpus.source} has no sentence to train on")
        ids = map(run.vocabulary.encode_tags, tags_of(splits["train"]))
        self.targets = Sequences([torch.tensor(each) for each in ids], device)
        self.valid_tags = tags_of(splits["valid"])
        self.lengths = self.train.lengths
        self.train_size = int(self.lengths.sum())
        self.valid_size = int(self.valid.lengths.sum())

    def loss(
        self, model: Tagger, batch: Tensor, state: StackState | None
    ) -> tuple[Tensor, int, None]:
        """The cross-entropy of the tags."""
        logits = model(self.train.inputs(batch)).to(torch.get_default_dtype()).flatten(0, 1)
        targets = self.targets.padded(batch, padding=-1).flatten()
        nats = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
        return nats, int(self.lengths[batch].sum()), None

    def score(self, model: Tagger, size: int, should_stop: Callable[[], bool]) -> float:
        """The F1 of the spans of the validation split, or of some sentences, in percent."""
        number = len(self.valid_tags)
        chosen = spread(number, max(1, number * size // self.valid_size))
        settings = {"tags": self.tags, "should_stop": should_stop}
        found = world().share_out(
            chosen, lambda own: predict_tags(model, self.valid, chosen=own, **settings)
        )
        expected = [self.valid_tags[sentence] for sentence in chosen.tolist()]
        return score_spans(expected, found, of_words=self.of_words).overall.f1
