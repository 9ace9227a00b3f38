"""One training's parts: the model, its update, its measures, and what is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from charlm.device import select_precision
from charlm.errors import TrainingError
from charlm.optimisation.optimisers import build_optimiser
from charlm.optimisation.schedules import learning_rate_factor
from charlm.recurrent.states import StackState, map_state
from charlm.runs import TaskRun
from charlm.training import keeping
from charlm.training.events import Event, Measured, Sampled, Stepped
from charlm.training.optimisation import clip_gradients, snapshot
from charlm.training.position import Position
from charlm.training.task import Task

MARKS = 5  # a training is sampled from so often unless told, and a long epoch scored so often
SAVING = 0.05  # part of the time that may go into saving at the end of each epoch


class Trainer:
    """One training of any task: the model, what moves it, and how far it has come.

    Seeds torch's global generator, which decides the first weights and the dropout. Batches
    and samples have generators of their own, so validating and sampling change nothing. Where
    the run has a checkpoint, it goes on from there.

    Attributes:
        notices: for the user, about the precision and about resuming, one line each.
    """

    def __init__(self, run: TaskRun, task: Task, device: torch.device) -> None:
        config = run.config.training
        self.run, self.task, self.config, self.device = run, task, config, device
        torch.manual_seed(config.seed)
        new = run.checkpoint is None
        self.model = (run.first_model() if new else run.new_model()).to(device)
        if new:
            task.prepare(self.model)
        self.parameters = [each for each in self.model.parameters() if each.requires_grad]
        self.optimiser = build_optimiser(
            config.optimiser,
            self.model,
            lr=config.lr,
            beta2=config.beta2,
            weight_decay=config.weight_decay,
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.bfloat16, self.notices = select_precision(config.precision, device)
        self.position = Position(next_samples=1 / MARKS)
        self.best: dict[str, Tensor] | None = None
        self.average = [each.detach().clone() for each in self.parameters if config.averaging]
        self._started = time.monotonic()
        if new:
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

    def begin_epoch(self) -> None:
        """Draw the next epoch's batches; the state before the first is zero."""
        self.epoch_generator = self.generator.get_state()
        self.batches = self.task.draw_batches(self.generator)
        self.state: StackState | None = None

    @property
    def epoch_over(self) -> bool:
        """Whether the present epoch has no batch left."""
        return self.position.batches == len(self.batches)

    @property
    def epoch(self) -> float:
        """Epochs gone through; a whole number at the end of one, and only there."""
        done = min(self.position.count / self.task.train_size, 0.9999)
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
        """Whether the figure on what is held out has not improved for too long."""
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
        if self.average:
            # The first steps count for less: they are soon far away.
            decay = min(self.config.averaging, (1 + position.step) / (10 + position.step))
            torch._foreach_lerp_(self.average, [*self._detached()], 1 - decay)
        position.learning_rate = self.config.lr * factor
        position.step += 1
        position.batches += 1
        position.items += count
        position.nats += nats
        position.count += count
        self.state = state
        self._progress = self._progress_now()
        self.whole = True
        return Stepped(
            epoch=position.whole_epochs + 1,
            progress=self._progress,
            figure=self.task.train_figure(position.loss),
            seconds=self.seconds,
            items=position.items,
        )

    whole = True
    """False while an update is under way: what is kept then would be neither before nor after."""

    def _differentiate(self) -> tuple[float, int, StackState | None]:
        """The next batch's summed nats, its items, and the detached state after it."""
        batch = self.batches[self.position.batches]
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss, count, state = self.task.loss(self.model, batch, self.state)
        self.optimiser.zero_grad()
        (loss / count).backward()  # type: ignore[no-untyped-call]
        nats = float(loss.detach())
        norm = clip_gradients(self.parameters, self.config.clip_norm)
        finite = {"loss": nats, "gradient": norm}
        if state is not None:
            state = map_state(lambda tensor: tensor.detach().float(), state)
            sums = [float(tensor.sum()) for layer_state in state for tensor in layer_state]
            finite["state"] = sum(sums)
        for what, value in finite.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {what} is not finite at step {self.position.step + 1}, after "
                    f"{self.position.items:,} {self.run.unit}",
                    "try a smaller --lr or a smaller --clip-norm",
                )
        return nats, count, state

    def _detached(self) -> Iterator[Tensor]:
        return (parameter.detach() for parameter in self.parameters)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within, the model has the mean of its weights, where one is kept."""
        weights = [each.clone() for each in self._detached() if self.average]
        try:
            for parameter, mean in zip(self._detached(), self.average, strict=False):
                parameter.copy_(mean)
            yield
        finally:
            for parameter, own in zip(self._detached(), weights, strict=False):
                parameter.copy_(own)

    @property
    def report_due(self) -> bool:
        """Whether to measure: at an epoch's end, at the training's, or inside a long epoch."""
        position = self.position
        overdue = self._progress - position.measured_progress >= 1 / MARKS
        due = self.epoch_over or self._progress >= 1 or overdue
        return due and position.step > position.measured_step

    def report(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Score what is held out, remember the best weights, sample where it is time.

        Raises:
            Stopped: ``should_stop`` said so; the report is still due.
        """
        position, epoch, task = self.position, self.epoch, self.task
        valid = None
        if task.has_valid:
            with self._averaged():
                valid = task.score(self.model, should_stop)
        train = task.train_figure(position.loss)
        of_epoch = self.epoch_over or position.whole_epochs == 0
        measured = Measured(
            epoch=epoch,
            step=position.step,
            train=train,
            valid=valid,
            learning_rate=position.learning_rate,
            seconds=self.seconds,
            items=position.items,
        )
        yield measured
        every = getattr(self.config, "sample_every", None)
        samples: list[Sampled] = []
        sampling = self._progress >= position.next_samples if not every else epoch % every == 0
        if self._progress >= 1 or sampling:
            with self._averaged():
                for sample in task.sample(self.model, epoch, should_stop):
                    samples.append(sample)
                    yield sample
        # Only now: what is interrupted before is done again from its start.
        self.whole = False
        self.run.metrics.append(
            {
                "epoch": epoch,
                "step": position.step,
                **dict(zip(self.run.figures, (train, valid), strict=True)),
                "learning_rate": position.learning_rate,
                "seconds": measured.seconds,
                self.run.unit: position.items,
            }
        )
        self.run.samples += [dict(vars(sample)) for sample in samples]
        if samples:
            position.next_samples = self._progress + 1 / MARKS
        if of_epoch:
            position.train_figure = train
        if valid is not None and self._is_best(valid):
            position.best_valid, position.unimproved = valid, 0
            self.best = self._used()
        elif valid is not None:
            position.unimproved += 1
        position.measured_step, position.measured_progress = position.step, self._progress
        self.whole = True

    def _used(self) -> dict[str, Tensor]:
        """The weights that are scored, on the CPU, by name."""
        with self._averaged():
            return snapshot(self.model)

    def _is_best(self, valid: float) -> bool:
        best = self.position.best_valid
        if best is None:
            return math.isfinite(valid)  # a perplexity may overflow
        return valid > best if self.task.higher_is_better else valid < best

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
        standing = (self.position.step, self.position.measured_step)
        if standing == self._saved:
            return
        begun, last = time.monotonic(), snapshot(self.model)
        self.position.seconds = self.seconds
        tensors, training = keeping.keep(self)
        # What is saved already is worth more than numbers that have overflowed.
        if not all(bool(each.isfinite().all()) for each in (*last.values(), *tensors.values())):
            return
        best = self.best or (self._used() if self.average else last)
        self.run.save(best=best, last=last, tensors=tensors, training=training)
        self._saved, self._saved_at = standing, time.monotonic()
        self._saving_seconds = self._saved_at - begun
