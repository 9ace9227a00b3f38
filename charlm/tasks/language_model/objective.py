"""Train a language model: batches of a text or of lines, and samples during training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from charlm.corpus import SPLITS
from charlm.errors import Stopped
from charlm.processes import world
from charlm.recurrent.states import StackState, map_state
from charlm.runs import Run
from charlm.tasks.language_model.batches import (
    PADDING,
    Batch,
    Batches,
    LineBatch,
    Lines,
    check_length,
    consecutive_batches,
    draw_offset,
    first_rows,
    id_tensor,
    line_batches,
    random_batches,
)
from charlm.tasks.language_model.config import LanguageTrainingSection
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.decoding import Decoding, generate
from charlm.tasks.language_model.lines import BOUNDARY
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.perplexity import (
    ROW_LENGTH,
    WARM_UP,
    evaluate,
    evaluate_lines,
)
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


class CharacterObjective(Objective):
    """What training on a text and training on lines share: sizes, metric and samples."""

    start = ""  # the characters that the model reads before a prefix
    end: int | None = None  # the id that ends a sample

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        self.task = run.task
        self.config, self.vocabulary = run.config.training, run.vocabulary
        self.starts_trained = run.config.model.from_run is not None
        self.sample_every = self.config.sample_every
        self.train_ids, self.valid_ids = (
            id_tensor(corpus.read(split)[0], device) for split in SPLITS[:2]
        )
        self.train_size, self.valid_size, _ = corpus.split_sizes

    def num_rows(self, batch: Batch | LineBatch) -> int:
        """The number of columns, B."""
        return batch.inputs.shape[1]

    def train_metric(self, loss: LossSum) -> float:
        """The perplexity."""
        return loss.perplexity

    def score_shared(
        self, compute: Callable[..., LossSum], model: LanguageModel, **how: Any
    ) -> float:
        """The perplexity by ``compute``, each process on its share of the rows or lines."""
        with world().together():
            loss = compute(model, self.valid_ids, **how, share=world().own)
        nats, count = world().sum(loss.nats, loss.count)
        return LossSum(nats, int(count)).perplexity

    @property
    def has_valid(self) -> bool:
        """Whether the validation split has a character to predict."""
        return self.valid_size >= 2

    def sample(
        self,
        model: LanguageModel,
        epoch: float,
        should_stop: Callable[[], bool],
        enough: Callable[[], bool],
    ) -> Iterator[Sampled]:
        """A continuation of each prefix, with the same seed each time so that they compare."""
        decoding = Decoding(temperature=self.config.sample_temperature)
        for number, prefix in enumerate(self.config.prefixes):
            chosen = []
            for token in generate(
                model,
                self.vocabulary.encode(self.start + prefix).tolist(),
                length=self.config.sample_length,
                decoding=decoding,
                seed=(self.config.seed + number) % 2**63,
            ):
                if should_stop():
                    raise Stopped
                if token == self.end:
                    break
                chosen.append(int(token))
                if enough():
                    break
            text = prefix + self.vocabulary.decode(chosen)
            yield Sampled(epoch=epoch, prefix=prefix, text=text)


class NextCharacter(CharacterObjective):
    """Predict each character of a text from the characters before it."""

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        super().__init__(run, corpus, device)
        check_train_split(self.config, self.train_size)

    def draw_batches(self, generator: torch.Generator) -> Batches[Batch]:
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

    def some_rows(self, batch: Batch, rows: slice) -> Batch:
        """Some of the columns."""
        return Batch(batch.inputs[:, rows], batch.targets[:, rows])

    def loss(
        self, model: LanguageModel, batch: Batch, state: StackState | None
    ) -> tuple[Tensor, int, StackState | None]:
        """The cross-entropy of the next characters."""
        if state is None:
            state = model.initial_state(batch.inputs.shape[1])
        loss, state = model.loss(batch.inputs, batch.targets, state)
        # With random sampling, each batch starts from a zero state.
        carried = None if self.config.sampling == "random" else state
        return loss, batch.targets.numel(), carried

    def carried_state(self, model: LanguageModel) -> StackState | None:
        """The zero state that the first of the consecutive batches starts from."""
        if self.config.sampling == "random":
            return None
        return model.initial_state(self.config.batch_size)

    def scored(self, size: int) -> int:
        """A whole number of rows, and at least 256 characters."""
        size = max(size, 256)
        return size // _row_length(size) * _row_length(size)

    def score(self, model: LanguageModel, size: int, should_stop: Callable[[], bool]) -> float:
        """The perplexity of the validation split, or of rows that are spread evenly over it."""
        how: dict[str, Any] = {}
        if size < self.valid_size:
            length = _row_length(size)
            how = {"at_most": size, "row_length": length, "warm_up": min(WARM_UP, length // 4)}
        return self.score_shared(evaluate, model, **how, should_stop=should_stop)


class NextCharacterOfLine(CharacterObjective):
    """Predict each character of a line, and its end, from the characters before it in the line."""

    start = BOUNDARY

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        super().__init__(run, corpus, device)
        self.end = int(self.train_ids[0])
        self.train = Lines(self.train_ids)

    def draw_batches(self, generator: torch.Generator) -> Batches[LineBatch]:
        """Lines of similar lengths, in parts of at most ``seq_len`` characters."""
        sizes = {"batch_size": self.config.batch_size, "seq_len": self.config.seq_len}
        return line_batches(self.train, **sizes, generator=generator)

    def some_rows(self, batch: LineBatch, rows: slice) -> LineBatch:
        """Some of the lines; each line of a later part keeps its place among them."""
        targets = batch.targets[:, rows]
        characters = int((targets != PADDING).sum())
        return LineBatch(batch.inputs[:, rows], targets, characters, batch.begins)

    def loss(
        self, model: LanguageModel, batch: LineBatch, state: StackState | None
    ) -> tuple[Tensor, int, StackState]:
        """The cross-entropy of the next characters and of the line ends.

        The state goes on within a line that is longer than ``seq_len``. It always has
        ``batch_size`` rows (a process's share of them), so that its form does not depend on the
        batch.
        """
        zeros = model.initial_state(world().count_own(self.config.batch_size))
        state = zeros if state is None or batch.begins else state
        state = first_rows(state, batch.inputs.shape[1])
        loss, state = model.loss(batch.inputs, batch.targets, state)
        return loss, batch.characters, map_state(_fill, zeros, state)

    def carried_state(self, model: LanguageModel) -> StackState:
        """The zero state of a batch of lines."""
        return model.initial_state(self.config.batch_size)

    def score(self, model: LanguageModel, size: int, should_stop: Callable[[], bool]) -> float:
        """The perplexity of the lines of the validation split, or of some of them."""
        at_most = size if size < self.valid_size else None
        how = {"at_most": at_most, "should_stop": should_stop}
        return self.score_shared(evaluate_lines, model, **how)


def _row_length(size: int) -> int:
    """The length of the rows of a sample: shorter in a small one, so that some stand side by side.

    A slow model reads 16 rows at once in little more time than one.
    """
    return min(ROW_LENGTH, max(16, size // 16))


def _fill(zeros: Tensor, rows: Tensor) -> Tensor:
    """The (B', H) rows of a state, followed by those of ``zeros``, (B, H), that come after them."""
    return torch.cat([rows, zeros[len(rows) :]])
