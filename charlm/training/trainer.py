"""One training's parts: the model, its update, its measures, and what is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from charlm.batches import (
    Batches,
    check_length,
    consecutive_batches,
    draw_offset,
    random_batches,
)
from charlm.config import TrainingConfig
from charlm.corpus import Corpus
from charlm.errors import Stopped, TrainingError
from charlm.evaluation.perplexity import evaluate
from charlm.generation.decoding import Decoding, generate
from charlm.models.build import build_language_model, computes_in_bfloat16
from charlm.models.language_model import cross_entropy_sum
from charlm.recurrent.core import StackState, map_state
from charlm.runs import Run
from charlm.training import keeping
from charlm.training.events import Event, Measured, Sampled, Stepped
from charlm.training.optimisation import build_optimiser, clip_gradients, snapshot
from charlm.training.position import Position
from charlm.training.schedules import learning_rate_factor

MARKS = 5  # a training is sampled from so often unless told, and a long epoch scored so often
SAVING = 0.05  # part of the time that may go into saving at the end of each epoch


def check_train_split(config: TrainingConfig, train_characters: int) -> None:
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


class Trainer:
    """One training: the model, what moves it, and how far it has come.

    Seeds torch's global generator, which decides the first weights and the dropout. Batches
    and samples have generators of their own, so validating and sampling change nothing. Where
    the run has a checkpoint, it goes on from there.

    Attributes:
        notices: what the user should know of going on, one line each.
    """

    def __init__(self, run: Run, corpus: Corpus, device: torch.device) -> None:
        config = run.config.training
        self.run, self.config, self.device = run, config, device
        self.train_ids = torch.from_numpy(corpus.split("train").copy()).to(device)
        self.valid_ids = torch.from_numpy(corpus.split("valid").copy()).to(device)
        check_train_split(config, len(self.train_ids))
        torch.manual_seed(config.seed)
        self.model = build_language_model(run.config.model, len(run.vocabulary)).to(device)
        self.parameters = list(self.model.parameters())
        self.optimiser = build_optimiser(config, self.model)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.bfloat16 = computes_in_bfloat16(config.precision, device)
        self.position = Position(next_samples=1 / MARKS)
        self.best: dict[str, Tensor] | None = None
        self.notices: tuple[str, ...] = ()
        self._started = time.monotonic()
        if run.checkpoint is None:
            self.begin_epoch()
        else:
            keeping.restore(self)
            self._started -= self.position.seconds
        self._progress = self._progress_now()
        # What was saved, when, and how long it took.
        self._saved = (self.position.step, self.position.measured_step) if run.checkpoint else None
        self._saved_at, self._saving_seconds = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Spent since the training began."""
        return time.monotonic() - self._started

    @property
    def has_valid(self) -> bool:
        """Whether there is a held-out text to score."""
        return len(self.valid_ids) >= 2

    def begin_epoch(self) -> None:
        """Draw the next epoch's batches; the state before the first is zero."""
        self.epoch_generator = self.generator.get_state()
        self.batches = self._draw_batches()
        self.state: StackState | None = None

    def _draw_batches(self) -> Batches:
        config = self.config
        offset = 0
        if config.offset == "random":
            offset = draw_offset(config.sampling, config.seq_len, self.generator)
        sizes = {"batch_size": config.batch_size, "seq_len": config.seq_len, "offset": offset}
        if config.sampling == "consecutive":
            return consecutive_batches(self.train_ids, **sizes)
        return random_batches(
            self.train_ids, **sizes, generator=self.generator, drop_last=config.drop_last
        )

    @property
    def epoch_over(self) -> bool:
        """Whether the present epoch has no batch left."""
        return self.position.batches == len(self.batches)

    @property
    def epoch(self) -> float:
        """Epochs gone through; a whole number at the end of one, and only there."""
        done = min(self.position.count / len(self.train_ids), 0.9999)
        return self.position.whole_epochs + (1 if self.epoch_over else done)

    def _progress_now(self) -> float:
        """Part of the training that is over, by epochs or by the clock, whichever is further."""
        by_epochs = self.epoch / self.config.epochs if self.config.epochs else 0.0
        by_clock = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_epochs, by_clock))

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self._progress >= 1 or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation perplexity has not improved for too long."""
        patience = self.config.patience
        return patience is not None and self.position.unimproved >= patience

    def update(self) -> Stepped:
        """One step: forward, backward, clipping, the optimiser.

        Raises:
            TrainingError: the loss, the gradient or the state is not finite; all is as before.
        """
        before = keeping.dropout_generators(self.device)
        self.whole = False
        if self.epoch_over:
            self.position.whole_epochs += 1
            self.position.batches, self.position.nats, self.position.count = 0, 0.0, 0
            self.begin_epoch()
        try:
            nats, count, state = self._differentiate()
        except BaseException:
            keeping.set_dropout_generators(before, self.device)
            self.whole = True
            raise
        factor = learning_rate_factor(self.config.schedule, self._progress, self.config.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * factor
        self.optimiser.step()
        position = self.position
        position.learning_rate = self.config.lr * factor
        position.step += 1
        position.batches += 1
        position.characters += count
        position.nats += nats
        position.count += count
        self.state = state
        self._progress = self._progress_now()
        self.whole = True
        return Stepped(
            epoch=position.whole_epochs + 1,
            progress=self._progress,
            perplexity=position.loss.perplexity,
            seconds=self.seconds,
            characters=position.characters,
        )

    whole = True
    """False while an update is under way: what is kept then would be neither before nor after."""

    def _differentiate(self) -> tuple[float, int, StackState]:
        """The next batch's summed nats, its characters, and the detached state after it."""
        batch = self.batches[self.position.batches]
        state = self.state
        # The state is zero at the epoch's start, and at each batch drawn at random.
        if state is None or self.config.sampling == "random":
            state = self.model.initial_state(batch.inputs.shape[1])
        count = batch.targets.numel()
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits, state = self.model(batch.inputs, state)
        loss = cross_entropy_sum(logits.float(), batch.targets)
        self.optimiser.zero_grad()
        (loss / count).backward()  # type: ignore[no-untyped-call]
        nats = float(loss.detach())
        norm = clip_gradients(self.parameters, self.config.clip_norm)
        state = map_state(lambda tensor: tensor.detach().float(), state)
        sums = [float(tensor.sum()) for layer_state in state for tensor in layer_state]
        finite = {"loss": nats, "gradient": norm, "state": sum(sums)}
        for what, value in finite.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {what} is not finite at step {self.position.step + 1}, after "
                    f"{self.position.characters:,} characters",
                    "try a smaller --lr or a smaller --clip-norm",
                )
        return nats, count, state

    @property
    def report_due(self) -> bool:
        """Whether to measure: at an epoch's end, at the training's, or inside a long epoch."""
        position = self.position
        overdue = self._progress - position.measured_progress >= 1 / MARKS
        due = self.epoch_over or self._progress >= 1 or overdue
        return due and position.step > position.measured_step

    def report(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Score the held-out text, remember the best weights, sample where it is time.

        Raises:
            Stopped: ``should_stop`` said so; the report is still due.
        """
        position, epoch, loss = self.position, self.epoch, self.position.loss
        valid = None
        if self.has_valid:
            valid = evaluate(self.model, self.valid_ids, should_stop=should_stop).perplexity
        of_epoch = self.epoch_over or position.whole_epochs == 0
        measured = Measured(
            epoch=epoch,
            step=position.step,
            train_perplexity=loss.perplexity,
            valid_perplexity=valid,
            learning_rate=position.learning_rate,
            seconds=self.seconds,
            characters=position.characters,
        )
        yield measured
        every = self.config.sample_every
        samples: list[Sampled] = []
        sampling = self._progress >= position.next_samples if not every else epoch % every == 0
        if self._progress >= 1 or sampling:
            for sample in self._sample(epoch, should_stop):
                samples.append(sample)
                yield sample
        # Only now: what is interrupted before is done again from its start.
        self.whole = False
        self.run.metrics.append(dict(vars(measured)))
        self.run.samples += [dict(vars(sample)) for sample in samples]
        if samples:
            position.next_samples = self._progress + 1 / MARKS
        if of_epoch:
            position.train_perplexity = loss.perplexity
        # Not the one that overflows, even if it is the first.
        best = math.inf if position.best_valid is None else position.best_valid
        if valid is not None and valid < best:
            position.best_valid, position.unimproved = valid, 0
            self.best = snapshot(self.model)
        elif valid is not None:
            position.unimproved += 1
        position.measured_step, position.measured_progress = position.step, self._progress
        self.whole = True

    def _sample(self, epoch: float, should_stop: Callable[[], bool]) -> Iterator[Sampled]:
        """A continuation of each prefix; with the same draws each time, for comparison."""
        vocabulary = self.run.vocabulary
        decoding = Decoding(temperature=self.config.sample_temperature)
        for number, prefix in enumerate(self.config.prefixes):
            chosen = []
            for token in generate(
                self.model,
                vocabulary.encode(prefix).tolist(),
                length=self.config.sample_length,
                decoding=decoding,
                seed=(self.config.seed + number) % 2**63,
            ):
                if should_stop():
                    raise Stopped
                chosen.append(int(token))
            yield Sampled(epoch=epoch, prefix=prefix, text=prefix + vocabulary.decode(chosen))

    def save_when_due(self) -> None:
        """Write a checkpoint at an epoch's end, and so often inside a long one.

        Raises:
            RunError: the disk is full, or the folder cannot be written to.
        """
        since = time.monotonic() - self._saved_at
        config, position = self.config, self.position
        # Epochs may be so short that saving each would take longer than training.
        due = self.epoch_over and since * SAVING >= self._saving_seconds
        due |= config.save_minutes is not None and since >= 60 * config.save_minutes
        due |= config.save_steps is not None and position.step % config.save_steps == 0
        if due:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless nothing has happened since the last.

        Raises:
            RunError: the disk is full, or the folder cannot be written to.
        """
        begun, last = time.monotonic(), snapshot(self.model)
        standing = (self.position.step, self.position.measured_step)
        if standing == self._saved:
            return
        self.position.seconds = self.seconds
        tensors, training = keeping.keep(self)
        # What is saved already is worth more than numbers that have overflowed.
        if not all(bool(each.isfinite().all()) for each in (*last.values(), *tensors.values())):
            return
        self.run.save(best=self.best or last, last=last, tensors=tensors, training=training)
        self._saved, self._saved_at = standing, time.monotonic()
        self._saving_seconds = self._saved_at - begun
