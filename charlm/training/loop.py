"""The training loop of all tasks. It yields events and leaves their display to the caller.

Truncated back-propagation through time: with consecutive sampling, a language model's state is
carried from batch to batch; the gradient never is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from charlm.device import keep_freed_memory
from charlm.errors import RunError, Stopped, TrainingError
from charlm.processes import ProcessesError, world
from charlm.report.run_page import COMPLETE, FAILED, INTERRUPTED
from charlm.runs import Run
from charlm.threads import Threads, threads_given
from charlm.training.determinism import deterministic
from charlm.training.events import Event, Finished, Noticed, Started
from charlm.training.loggers import Logger, MetricsFile, logged
from charlm.training.objective import Objective
from charlm.training.run_report import LiveReport
from charlm.training.saving import Saver
from charlm.training.trainer import Trainer
from charlm.training.training_state import load_state


def open_trainer(
    run: Run, corpus: Any, device: torch.device, begun: float | None = None
) -> tuple[Trainer, tuple[str, ...]]:
    """A trainer at the point where the run's training stands.

    Seeds torch's global generator, which decides the first weights of a new run.

    The second value is what the user should know about precision and resuming, one line each.
    ``begun`` is as in `train`.

    Raises:
        CorpusError: the train split is too small.
        RunError: the run's checkpoint is damaged.
    """
    config = run.config.training
    keep_freed_memory()
    objective: Objective = run.task.objective(run, corpus, device)
    torch.manual_seed(config.seed)
    is_new = run.checkpoint is None
    model = (run.first_model() if is_new else run.new_model()).to(device)
    if is_new:
        objective.prepare(model)
    trainer = Trainer(objective, model, config, device, begun)
    if run.task.tests_at_end and objective.has_valid:
        _, valid, test = corpus.split_sizes
        trainer.reports.tests = test / valid
    resumed = () if is_new else load_state(run, trainer)
    return trainer, (*trainer.notices, *trainer.reports.notices, *resumed)


def train(
    run: Run,
    corpus: Any,
    *,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
    begun: float | None = None,
    loggers: Sequence[Logger] = (),
) -> Generator[Event, None, None]:
    """Train the run's model on the corpus and fill the run folder.

    The last event is `Finished`.

    Args:
        run: a new run, or one to resume; its configuration holds all settings.
        corpus: the data that the run was made for.
        should_stop: asked after every step, and while scoring and sampling; when it returns True,
            training saves and ends.
        begun: when the user began to wait, by `time.monotonic`; the budget of ``minutes`` counts
            from there. None: now.
        loggers: get each event before the caller does, beside metrics.jsonl.

    Raises:
        CorpusError: the corpus is not the run's, or its train split is too small.
        TrainingError: a loss, gradient or state is not finite. The weights before it are saved.
        RunError: the run folder cannot be written to, is damaged, or another process uses it.
    """
    events = _train(run, corpus, device, should_stop, begun)
    return logged(events, [MetricsFile(run), *loggers] if world().first else [])


def _train(
    run: Run,
    corpus: Any,
    device: torch.device,
    should_stop: Callable[[], bool],
    begun: float | None,
) -> Generator[Event, None, None]:
    run.check_corpus(corpus)
    begun = time.monotonic() if begun is None else begun
    processes = world()
    processes.should_stop = should_stop
    lock = run.locked() if processes.first else nullcontext()
    with lock, deterministic(run.config.training.deterministic):
        # Before there is a model, so that its memory comes into use again.
        has_valid = corpus.split_sizes[1] >= run.task.min_split
        concludes = has_valid and processes.first
        prepared = run.task.prepare_conclusion(run, corpus) if concludes else None
        trainer, notices = open_trainer(run, corpus, device, begun)
        saver = Saver(run, trainer)
        yield Started(
            parameters=trainer.model.num_parameters(),
            in_tables=trainer.model.num_in_tables(),
            device=str(device),
            train_size=trainer.objective.train_size,
            valid_size=trainer.objective.valid_size,
            epoch=trainer.epoch,
            best=trainer.progress.best_valid,
            notices=notices,
        )
        if trainer.objective.starts_trained and run.checkpoint is None:
            saver.save()  # from here on, the run does not need the one that it starts from
        page = LiveReport(run, trainer, corpus, prepared)
        reports, clock = trainer.reports, trainer.clock
        told = clock.limited  # whether the user knows how long it takes
        is_open = device.type == "cpu" and not (
            run.config.training.deterministic or threads_given() or processes.size > 1
        )
        threads = Threads(trainer.threads, trainer.may_use if is_open else lambda _: False)
        told_of_threads = False
        stopped, ended = processes.stopped(), FAILED
        try:
            while not stopped:
                # The report comes first: a training that was stopped here resumes with it.
                if reports.due:
                    yield from reports.make(should_stop)
                    saver.save_when_due()
                    if warning := page.draw_when_due():
                        yield Noticed(text=warning, warning=True)
                if trainer.over:
                    reports.finish(should_stop)
                    break
                with threads.step(lambda: trainer.progress.items):
                    stepped = trainer.update()
                yield stepped
                if threads.notice and not told_of_threads:
                    told_of_threads = True
                    yield Noticed(text=threads.notice)
                if not told and clock.measured:
                    told = True
                    if words := trainer.forecast():
                        yield Noticed(text=words)
                if not reports.due:
                    saver.save_when_due()
                stopped = processes.stopped()
            ended = INTERRUPTED if stopped else COMPLETE
        except Stopped:
            stopped, ended = True, INTERRUPTED
        except (RunError, ProcessesError):
            raise
        except (Exception, GeneratorExit, KeyboardInterrupt) as error:
            ended = FAILED if isinstance(error, Exception) else INTERRUPTED
            # Of several processes, all have a TrainingError; another error is of one alone.
            if processes.size == 1 or isinstance(error, TrainingError):
                saver.save()
            raise
        finally:
            threads.stop()
            page.end(ended)
        saver.save()
        progress, tests = trainer.progress, reports.tests_fit(clock.budget - clock.waited)
        if not tests and not stopped:
            yield Noticed(text=reports.without_tests())
        yield Finished(
            epochs=round(trainer.epoch, 3),
            seconds=clock.seconds,
            items=progress.items,
            train=trainer.train_metric,
            valid=reports.valid,
            last_train=trainer.last_train_metric,
            last_valid=reports.last_valid,
            best_epoch=reports.best_epoch,
            interrupted=stopped,
            out_of_patience=trainer.out_of_patience,
            scored=progress.final_scored or progress.scored,
            waited=clock.waited,
            tests=tests,
            prepared=prepared,
        )
