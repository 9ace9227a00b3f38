"""Train a language model: batches of a text, and samples during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from charlm.errors import Stopped
from charlm.recurrent.states import StackState
from charlm.runs import Run
from charlm.tasks.language_model.batches import (
    Batch,
    Batches,
    check_length,
    consecutive_batches,
    draw_offset,
    random_batches,
)
from charlm.tasks.language_model.config import LanguageTrainingSection
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.decoding import Decoding, generate
from charlm.tasks.language_model.model import LanguageModel, cross_entropy_sum
from charlm.tasks.language_model.perplexity import evaluate
from charlm.training.events import Sampled
from charlm.training.loss import LossSum
from charlm.training.objective import Objective


def check_train_split(config: LanguageTrainingSection, train_characters: int) -> None:
    """Check that every epoch has a batch.

    Raises:
        CorpusError: the train split is too short; the message says how many characters it needs.
    """
    highest = config.seq_len - (config.sampling == "random") if config.offset == "random" else 0
    sizes = {"batch_size": config.batch_size, "seq_len": config.seq_len}
    check_length(train_characters, **sizes, highest_offset=highest)


class NextCharacter(Objective):
    """Predict each character of a text from the characters before it."""

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        self.task = run.task
        self.config, self.vocabulary = run.config.training, run.vocabulary
        self.sample_every = self.config.sample_every
        self.train_ids = torch.from_numpy(corpus.split("train").copy()).to(device)
        self.valid_ids = torch.from_numpy(corpus.split("valid").copy()).to(device)
        self.train_size, self.valid_size = len(self.train_ids), len(self.valid_ids)
        check_train_split(self.config, self.train_size)

    def draw_batches(self, generator: torch.Generator) -> Batches:
        """Consecutive batches, or subsequences in shuffled order."""
        config, offset = self.config, 0
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
        """The cross-entropy of the next characters."""
        if state is None:
            state = model.initial_state(batch.inputs.shape[1])
        logits, state = model(batch.inputs, state)
        loss = cross_entropy_sum(logits.float(), batch.targets)
        # With random sampling, each batch starts from a zero state.
        carried = None if self.config.sampling == "random" else state
        return loss, batch.targets.numel(), carried

    def carried_state(self, model: LanguageModel) -> StackState | None:
        """The zero state that the first of the consecutive batches starts from."""
        if self.config.sampling == "random":
            return None
        return model.initial_state(self.config.batch_size)

    def train_metric(self, loss: LossSum) -> float:
        """The perplexity."""
        return loss.perplexity

    @property
    def has_valid(self) -> bool:
        """Whether the validation split has a character to predict."""
        return self.valid_size >= 2

    def score(self, model: LanguageModel, should_stop: Callable[[], bool]) -> float:
        """The perplexity of the whole validation split."""
        return evaluate(model, self.valid_ids, should_stop=should_stop).perplexity

    def sample(
        self, model: LanguageModel, epoch: float, should_stop: Callable[[], bool]
    ) -> Iterator[Sampled]:
        """A continuation of each prefix, with the same seed each time so that they compare."""
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
