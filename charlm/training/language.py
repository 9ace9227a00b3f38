"""Training a language model: sequences of a text, and samples on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from charlm.batches import (
    Batch,
    Batches,
    check_length,
    consecutive_batches,
    draw_offset,
    random_batches,
)
from charlm.config import LanguageTrainingSection
from charlm.corpus import Corpus
from charlm.errors import Stopped
from charlm.evaluation.perplexity import LossSum, evaluate
from charlm.generation.decoding import Decoding, generate
from charlm.models.language_model import LanguageModel, cross_entropy_sum
from charlm.recurrent.states import StackState
from charlm.runs import Run
from charlm.training.events import Sampled
from charlm.training.task import Task


def check_train_split(config: LanguageTrainingSection, train_characters: int) -> None:
    """Make sure that there is a batch in every epoch.

    Raises:
        CorpusError: the train split is too short; how many characters there are and are needed.
    """
    highest_offset = 0
    if config.offset == "random":
        highest_offset = config.seq_len - (config.sampling == "random")
    check_length(
        train_characters,
        batch_size=config.batch_size,
        seq_len=config.seq_len,
        highest_offset=highest_offset,
    )


class LanguageModelling(Task):
    """Predict each character of a text from those before it."""

    higher_is_better = False

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        self.config, self.vocabulary = run.config.training, run.vocabulary
        self.train_ids = torch.from_numpy(corpus.split("train").copy()).to(device)
        self.valid_ids = torch.from_numpy(corpus.split("valid").copy()).to(device)
        self.train_size, self.valid_size = len(self.train_ids), len(self.valid_ids)
        check_train_split(self.config, self.train_size)

    def draw_batches(self, generator: torch.Generator) -> Batches[Batch]:
        """Consecutive ones, or subsequences in shuffled order."""
        config = self.config
        offset = 0
        if config.offset == "random":
            offset = draw_offset(config.sampling, config.seq_len, generator)
        sizes = {"batch_size": config.batch_size, "seq_len": config.seq_len, "offset": offset}
        if config.sampling == "consecutive":
            return consecutive_batches(self.train_ids, **sizes)
        return random_batches(
            self.train_ids, **sizes, generator=generator, drop_last=config.drop_last
        )

    def loss(
        self, model: LanguageModel, batch: Batch, state: StackState | None
    ) -> tuple[Tensor, int, StackState | None]:
        """Of the next characters."""
        # The state is zero at the epoch's start, and at each batch drawn at random.
        if state is None or self.config.sampling == "random":
            state = model.initial_state(batch.inputs.shape[1])
        logits, state = model(batch.inputs, state)
        return cross_entropy_sum(logits.float(), batch.targets), batch.targets.numel(), state

    def carried_state(self, model: LanguageModel) -> StackState | None:
        """Where each batch goes on with the last one."""
        if self.config.sampling == "random":
            return None
        return model.initial_state(self.config.batch_size)

    def train_figure(self, loss: LossSum) -> float:
        """The perplexity."""
        return loss.perplexity

    @property
    def has_valid(self) -> bool:
        """Whether there is a character to predict."""
        return self.valid_size >= 2

    def score(self, model: LanguageModel, should_stop: Callable[[], bool]) -> float:
        """The perplexity of the whole validation split.

        Raises:
            Stopped: ``should_stop`` said so; the model is as it was.
        """
        return evaluate(model, self.valid_ids, should_stop=should_stop).perplexity

    def sample(
        self, model: LanguageModel, epoch: float, should_stop: Callable[[], bool]
    ) -> Iterator[Sampled]:
        """A continuation of each prefix; with the same draws each time, for comparison.

        Raises:
            Stopped: ``should_stop`` said so.
        """
        decoding = Decoding(temperature=self.config.sample_temperature)
        for number, prefix in enumerate(self.config.prefixes):
            chosen = []
            for token in generate(
                model,
                self.vocabulary.encode(prefix).tolist(),
                length=self.config.sample_length,
                decoding=decoding,
                seed=(self.config.seed + number) % 2**63,
            ):
                if should_stop():
                    raise Stopped
                chosen.append(int(token))
            text = prefix + self.vocabulary.decode(chosen)
            yield Sampled(epoch=epoch, prefix=prefix, text=text)
