"""The reports of a training: the score of the validation split, the best weights, and samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from charlm.report.words import duration
from charlm.training.averaging import is_triggered
from charlm.training.clock import LAST_SCORE, ONE_SCORE, SAMPLES, TEST_SCORE
from charlm.training.events import Event, Measured, Noticed, Sampled

if TYPE_CHECKING:
    from charlm.training.trainer import Trainer

REPORTS = 5  # scores inside long epochs, and sets of samples, unless told otherwise
SPARE = 1.1  # the share of the expected time of scores that is kept free for them
LEAST = 16  # items that are scored, however slow the model is


class Reports:
    """The reports of one training."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._objective = trainer, trainer.objective
        trainer.progress.next_samples = 1 / REPORTS
        self._forward_speed = 0.0  # items per second, where it was measured
        self._score_seconds = 0.0  # of the last score of one model
        self._told = False  # whether the user knows that the scores are of a sample
        self.tests = 0.0  # items of the test split for each of the validation split; 0: no tests

    @property
    def due(self) -> bool:
        """Whether to report: at the end of an epoch or the training, or inside a long epoch."""
        trainer, progress = self._trainer, self._trainer.progress
        if self._start_due:
            return True
        if progress.step <= progress.measured_step:
            return False
        late = trainer.share > 1 - 0.5 / REPORTS  # the last report comes soon
        overdue = trainer.share - progress.measured_share >= 1 / REPORTS and not late
        on_the_way = (trainer.epoch_over or overdue) and trainer.clock.may_score(trainer.share)
        return trainer.share >= 1 or on_the_way

    @property
    def _start_due(self) -> bool:
        """Whether to score a model with trained weights, before its first step here."""
        objective, trainer = self._objective, self._trainer
        untouched = trainer.progress.step == 0 and not trainer.metrics
        return objective.starts_trained and objective.has_valid and untouched

    @property
    def last_valid(self) -> float | None:
        """The last score of the validation split; None if it was not scored."""
        metrics = self._trainer.metrics
        return metrics[-1][self._objective.task.metric_keys[1]] if metrics else None

    @property
    def valid(self) -> float | None:
        """The score of the best weights, on as much of the split as was scored."""
        progress = self._trainer.progress
        return progress.best_valid if progress.final_valid is None else progress.final_valid

    @property
    def best_epoch(self) -> float | None:
        """The epochs after which the best weights were scored; None if there are none."""
        best, key = self._trainer.progress.best_valid, self._objective.task.metric_keys[1]
        rows = (row["epoch"] for row in self._trainer.metrics if row[key] == best)
        return None if best is None else next(rows, None)

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence on each setting that needs a validation split, where there is none."""
        config = self._trainer.config
        named = {"schedule=plateau": config.schedule == "plateau", "nt_asgd": config.nt_asgd}
        given = () if self._objective.has_valid else (key for key, on in named.items() if on)
        return tuple(f"{key} has no effect: there is no validation split" for key in given)

    def resume(self) -> None:
        """A longer training has done a smaller share: its reports come as soon as in a new one."""
        progress, share = self._trainer.progress, self._trainer.share
        progress.measured_share = min(progress.measured_share, share)
        progress.next_samples = min(progress.next_samples, share + 1 / REPORTS)
        if progress.best_valid is not None and not progress.scored:  # an older run
            progress.scored = self._objective.valid_size

    @property
    def end_seconds(self) -> float:
        """The expected time from the last step to the end of the command."""
        clock = self._trainer.clock
        items = self._models * (self._trainer.progress.scored or self._size())
        items += self._final_size(LAST_SCORE * clock.budget)
        seconds = SPARE * items * self._seconds_per_item + self._kept_for_tests
        return seconds + sum(clock.costs[what] for what in ("samples", "save", "report"))

    @property
    def _test_seconds(self) -> float:
        processes = self._trainer.world.size  # they share all scores but this one
        return self._seconds_per_item * self._objective.valid_size * self.tests * processes

    @property
    def _kept_for_tests(self) -> float:
        return self._test_seconds if self.tests_fit() else 0.0

    def tests_fit(self, left: float = 0.0) -> bool:
        """Whether there is time for a score of the test split, with ``left`` seconds left."""
        return self._test_seconds <= max(TEST_SCORE * self._trainer.clock.budget, left)

    def without_tests(self) -> str:
        """A sentence for a training without a score of the test split."""
        task = self._objective.task
        return (
            f"the test split was not scored: it would take about {duration(self._test_seconds)}; "
            f"{task.command} eval scores it"
        )

    @property
    def _seconds_per_item(self) -> float:
        """The time of scores; before the first, of a forward pass or of half a training step."""
        clock, scored = self._trainer.clock, self._trainer.progress.scored
        if self._score_seconds and scored:
            return self._score_seconds / scored
        speed = self._forward_speed or 2 * clock.speed
        return 1 / speed if speed else 0.0

    @property
    def _models(self) -> int:
        """The models that a report scores: with averaging, also the one of the mean weights."""
        return 2 if self._trainer.average else 1

    def _size(self) -> int:
        """The items of the validation split that each report scores."""
        objective, clock = self._objective, self._trainer.clock
        most = min(objective.valid_size, objective.most_scored)
        if clock.limited and self._seconds_per_item:
            fits = int(ONE_SCORE * clock.budget / self._seconds_per_item / self._models)
            most = min(most, max(LEAST, fits))
        if most < objective.valid_size:
            most = min(objective.valid_size, objective.scored(most))
        return most

    def _final_size(self, seconds: float) -> int:
        """The items of the score of the best weights, in that time at the end; 0: there is none."""
        whole, clock = self._objective.valid_size, self._trainer.clock
        scored = self._trainer.progress.scored or self._size()
        if scored == whole:
            return 0
        if clock.limited and self._seconds_per_item:
            whole = min(whole, int(max(0.0, seconds) / self._seconds_per_item))
        if whole < self._objective.valid_size:
            whole = self._objective.scored(whole)
        return whole if whole == self._objective.valid_size or whole >= 2 * scored else 0

    def make(self, should_stop: Callable[[], bool]) -> Iterator[Event]:
        """Score the validation split, remember the best weights, and sample if it is time.

        Raises:
            Stopped: ``should_stop`` returned True; the report is still due.
            TrainingError: the weights are not finite.
        """
        trainer, objective = self._trainer, self._objective
        progress, epoch, task = trainer.progress, trainer.epoch, objective.task
        if not all(bool(each.isfinite().all()) for each in trainer.parameters.values()):
            raise trainer.not_finite("the weights are", progress.step)
        valid = raw = averaged = None
        kept = mean = trainer.mean  # the better weights: the mean, or none in its place
        if objective.has_valid:
            self._decide_size()
            with trainer.clock.timing("score"):
                valid = objective.score(trainer.model, progress.scored, should_stop)
                if mean:
                    with trainer.holding(mean):
                        averaged = objective.score(trainer.model, progress.scored, should_stop)
            self._score_seconds = trainer.clock.costs["score"] / (2 if mean else 1)
            if averaged is not None:
                raw = valid
                if task.valid_metric.is_better(raw, averaged):
                    kept = {}
                else:
                    valid = averaged
        train = objective.train_metric(progress.loss) if progress.step else None
        measured = Measured(
            epoch=epoch,
            step=progress.step,
            train=train,
            valid=valid,
            learning_rate=progress.learning_rate,
            **progress.gradients,
            seconds=trainer.clock.seconds,
            items=progress.items,
            raw=raw,
            averaged=averaged,
        )
        yield measured
        if valid is not None and progress.scored < objective.valid_size and not self._told:
            self._told = True
            yield Noticed(
                text=f"scores before the end use {progress.scored:,} of the "
                f"{objective.valid_size:,} valid {task.unit}, spread evenly"
            )
        samples: list[Sampled] = []
        if self._samples_due(epoch):
            with (
                trainer.holding(kept),
                trainer.clock.timing("samples"),
                trainer.world.together(),
            ):
                for sample in self._sample(epoch, should_stop):
                    samples.append(sample)
                    yield sample
            samples = trainer.world.from_first(samples)
        # Nothing is recorded before this point: an interrupted report is made again from its start.
        trainer.whole = False
        trainer.metrics.append(measured.row(task))
        trainer.samples += [dict(vars(sample)) for sample in samples]
        if samples:
            progress.next_samples = trainer.share + 1 / REPORTS
        if valid is not None and self._is_best(valid):
            progress.best_valid, progress.unimproved = valid, 0
            trainer.best = trainer.snapshot(kept)
        elif valid is not None:
            progress.unimproved += 1
            self._act_on_plateau()
        progress.final_valid, progress.final_scored = None, 0
        progress.forget_norms()
        progress.measured_step, progress.measured_share = progress.step, trainer.share
        trainer.whole = True

    def _sample(self, epoch: float, should_stop: Callable[[], bool]) -> Iterator[Sampled]:
        trainer, limit = self._trainer, time.monotonic() + SAMPLES * self._trainer.clock.budget
        if trainer.world.first:
            yield from self._objective.sample(
                trainer.model, epoch, should_stop, lambda: time.monotonic() > limit
            )

    def _act_on_plateau(self) -> None:
        """After a validation without an improvement: a smaller learning rate, or a mean begins."""
        trainer, progress, config = self._trainer, self._trainer.progress, self._trainer.config
        if config.schedule == "plateau" and progress.unimproved % config.plateau_patience == 0:
            progress.lr_factor *= config.plateau_factor
        if config.nt_asgd and not progress.averaged:
            metric, key = self._objective.task.valid_metric, self._objective.task.metric_keys[1]
            if is_triggered([row[key] for row in trainer.metrics], metric, config.nt_asgd):
                trainer.average_weights(1.0)
                progress.averaged = 1

    def finish(self, should_stop: Callable[[], bool]) -> None:
        """Score the best weights on more of the validation split, if there is time.

        Raises:
            Stopped: ``should_stop`` returned True; the score is still due.
        """
        trainer, progress = self._trainer, self._trainer.progress
        size = self._final_size(trainer.clock.left_for_scores - self._kept_for_tests)
        if not size or trainer.best is None or progress.final_scored:
            return
        with trainer.holding(trainer.best):
            valid = self._objective.score(trainer.model, size, should_stop)
        progress.final_valid, progress.final_scored = valid, size

    def _decide_size(self) -> None:
        trainer = self._trainer
        if trainer.progress.scored:
            return
        most = min(self._objective.valid_size, self._objective.most_scored)
        if trainer.clock.limited and (not trainer.clock.speed or self._size() < most):
            self._forward_speed = trainer.world.sum(trainer.forward_speed())[0]
        trainer.progress.scored = self._size()

    def _samples_due(self, epoch: float) -> bool:
        every, share = self._objective.sample_every, self._trainer.share
        due = epoch % every == 0 if every else share >= self._trainer.progress.next_samples
        return due or share >= 1

    def _is_best(self, valid: float) -> bool:
        best = self._trainer.progress.best_valid
        if best is None:
            return math.isfinite(valid)  # a perplexity may overflow
        return self._objective.task.valid_metric.is_better(valid, best)
