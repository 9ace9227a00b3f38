"""A worker of a sweep: it trains one trial after the other."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config.settings import value_text
from charlm.errors import TrainingError, UsageError, lacks_memory
from charlm.jobs import Job
from charlm.report.words import epochs_text
from charlm.runs import Run
from charlm.sweeps.file import Sweep
from charlm.sweeps.study import next_trial, open_study
from charlm.training import Event, Finished, Measured, Started, Stepped
from charlm.training.whole import train_whole

if TYPE_CHECKING:
    from optuna import Study, Trial

REASON = "reason"  # the attribute of a failed trial that says why
PARTS = 20  # of a training; the scores after the same part are compared


def work(sweep: Sweep, corpora_dir: Path | None, job: Job) -> None:
    """Train trials until there are as many as the sweep wants, or the job is asked to stop."""
    study = open_study(sweep)
    while not job.should_stop():
        with next_trial(study, sweep) as trial:
            if trial is None:
                return
            _run_trial(study, trial, sweep, corpora_dir, job)


def _run_trial(
    study: Study, trial: Trial, sweep: Sweep, corpora_dir: Path | None, job: Job
) -> None:
    """Train a trial and tell the study how it ended; a trial that is interrupted goes on later."""
    from optuna.trial import TrialState

    name, settings = f"trial {trial.number}", sweep.settings(trial.params)
    words = (f"{key.rpartition('.')[2]} {short(value)}" for key, value in trial.params.items())
    job.note(f"{name}: {', '.join(words)}")
    judge, metric = _Judge(study, trial), sweep.task.valid_metric
    try:
        finished, _ = train_whole(
            sweep.task,
            {**sweep.given, "sweep": settings},
            sweep.run_folder(trial.number),
            corpora_dir=corpora_dir,
            should_stop=lambda: judge.stops or job.should_stop(),
            warn=job.note,
            follow=judge.follow,
        )
    except (TrainingError, UsageError) as error:  # the settings of this trial are to blame
        _fail(study, trial, error.message, job)
        return
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        _fail(study, trial, "there is not enough memory for this", job)
        return
    after = f"after {epochs_text(finished.epochs)}"
    if judge.stops:
        study.tell(trial, state=TrialState.PRUNED)
        job.note(f"{name}: pruned {after}, {_scored(metric, judge.last)}; the others are better")
    elif finished.interrupted:
        job.note(f"{name}: interrupted {after}")
    elif finished.valid is None:
        _fail(study, trial, "the validation metric is not finite", job)
    else:
        study.tell(trial, finished.valid)
        job.note(f"{name}: {_scored(metric, finished.valid)} {after}")


def short(value: Any) -> str:
    """A value of a searched setting with the digits that people read."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _fail(study: Study, trial: Trial, reason: str, job: Job) -> None:
    from optuna.trial import TrialState

    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL)
    job.note(f"trial {trial.number}: failed: {reason}")


def _scored(metric: Any, value: float | None) -> str:
    return f"{metric.title('valid')} {metric.text(value)}"


class _Judge:
    """Reports each scoring of a trial to optuna, which may stop the trial.

    Trials are compared by the part of the training that is done.
    """

    def __init__(self, study: Study, trial: Trial) -> None:
        self._study, self._trial = study, trial
        self._doomed = False
        self.stops = False  # whether the trial is stopped
        self.last: float | None = None

    def follow(
        self, run: Run, corpus: Any, events: Generator[Event, None, None]
    ) -> tuple[Started, Finished]:
        """Follow the events of a training to its end."""
        done = 0.0
        for event in events:
            match event:
                case Started():
                    started = event
                case Measured() if event.valid is not None and done:
                    self._doomed = self._report(event.valid, round(PARTS * done))
                case Stepped():
                    done = event.progress
                    # Not before: a training that stops in a report would lose the report.
                    self.stops = self._doomed
                case Finished():
                    return started, event
        raise AssertionError("training ends with a Finished event")

    def _report(self, value: float, part: int) -> bool:
        """Report a value, the first one of each part; whether to stop."""
        self.last = value
        if part in self._study.get_trials()[self._trial.number].intermediate_values:
            return False
        self._trial.report(value, part)
        return bool(self._trial.should_prune())  # it may be of numpy's type
