"""The commands of every task: ``train``, ``eval`` and ``predict``."""

from __future__ import annotations

import dataclasses
import inspect
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.options import (
    CorporaDir,
    Device,
    DryRun,
    GivenRun,
    GivenRuns,
    Jobs,
    Log,
    NewRun,
    Processes,
    Resume,
    Seeds,
    Split,
    lines_given,
    open_run,
    takes_output,
)
from charlm.cli.output import Output
from charlm.cli.pictures import picture_kind, write_picture
from charlm.cli.preparing import moved, prepared_training, train_beside
from charlm.cli.progress import follow, parameters_text
from charlm.cli.settings import takes_section, takes_settings
from charlm.config import Settings
from charlm.config.seeds import parse_seeds
from charlm.corpus import SPLITS
from charlm.corpus.splits import chosen_split
from charlm.errors import CorpusError, FetchError, UsageError
from charlm.launching import check_launched, launch, one_of_several, rank
from charlm.report.averages import average_words
from charlm.report.clipping import gradient_words
from charlm.report.run_page import FILE as REPORT_FILE
from charlm.report.words import clock, epochs_text
from charlm.task import EvalOptions, Task

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.training import Finished, Started
    from charlm.training.loggers import Logger
    from charlm.training.preparing import Prepared


LONG_SET_UP = 5  # seconds from which the time with the set-up is shown


def add_commands(app: typer.Typer, task: Task) -> None:
    """Add the commands of a task to an app."""
    app.command("train", help=inspect.cleandoc(task.train_help))(_train_command(task))
    app.command("eval", help=inspect.cleandoc(task.eval_help))(_eval_command(task))
    if task.predict_argument is not None:
        app.command("predict", help=task.predict_help)(_predict_command(task))


def _train_command(task: Task) -> Any:
    @takes_output
    @takes_settings(task.config_type)
    def train(
        given: dict[str, Settings],
        run: NewRun = None,
        resume: Resume = False,
        processes: Processes = None,
        log: Log = None,
        dry_run: DryRun = False,
        seeds: Seeds = None,
        jobs: Jobs = 1,
        corpora_dir: CorporaDir = None,
        *,
        output: Output,
    ) -> None:
        if seeds is not None:
            from charlm.cli.seeds import train_seeds

            if processes is not None or one_of_several():
                raise UsageError(
                    "--seeds trains each seed in one process",
                    "leave --processes out; --jobs N trains N seeds at once",
                )
            if not dry_run:
                train_seeds(task, seeds, given, run, resume, log, jobs, corpora_dir, output)
                return
            parse_seeds(seeds)
        if jobs > 1 and seeds is None:
            raise UsageError("--jobs is for --seeds", "give --seeds 0-4, or leave --jobs out")
        begun = time.monotonic()
        check_launched(processes)
        kinds = []
        if log:
            from charlm.training.loggers import find_loggers

            kinds = find_loggers(log)
        if dry_run:
            if not rank():
                prepared = prepared_training(task, given, run, resume, corpora_dir, output)
                _show_plan(task, prepared, output)
            return
        if processes is not None and processes > 1 and not one_of_several():
            raise typer.Exit(launch(processes, sys.argv[1:]))
        from charlm.processes import joined

        with joined() as world:
            if not world.first:
                train_beside(world, corpora_dir)
                return
            prepared = prepared_training(task, given, run, resume, corpora_dir, output)
            world.check_rows(prepared.config.training.batch_size)
            trained = prepared.make_run(run)
            world.from_first((trained, begun))
            with polled() as stop:
                loggers = [kind(trained) for kind in kinds]
                _train(task, trained, prepared, stop, loggers, begun, output)

    return train


def _train(
    task: Task,
    run: Run,
    prepared: Prepared,
    stop: StopFlag,
    loggers: Sequence[Logger],
    begun: float,
    output: Output,
) -> None:
    """Train, and show how; then the summary."""
    from charlm.training import train
    from charlm.training.summary import score_test_split

    corpus, device = prepared.plan.corpus, prepared.device
    events = train(run, corpus, device=device, should_stop=stop, begun=begun, loggers=loggers)
    started, finished = follow(run, corpus, events, output)
    scores = score_test_split(run, corpus, device, finished, stop)
    _conclude(run, corpus, started, finished, scores, output)
    output.text(f"next: {task.next_command(run)}{run_option(run)}")
    # A signal that came after the end of the training does not matter.
    if finished.interrupted or None in scores.values():
        stop.raise_if_set()


def _show_plan(task: Task, prepared: Prepared, output: Output) -> None:
    """Print the data, the model and all settings, for ``--dry-run``."""
    plan, config, opened = prepared.plan, prepared.config, prepared.opened
    sources = ({"run": opened.config.to_dict()} if opened else {}) | {**prepared.given}
    corpus, (words, facts) = plan.corpus, task.facts(plan.corpus)
    model = task.build_model(config, corpus.vocabulary)
    parameters = model.num_parameters()
    cell, backend, device = config.model.cell, config.model.backend, str(prepared.device)
    sizes = dict(zip(SPLITS, corpus.split_sizes, strict=True))
    content = {"task": task.name, "corpus": corpus.name, **facts, "split": sizes}
    content |= {"vocabulary": len(corpus.vocabulary), "backend": backend}
    content |= {"parameters": parameters, "device": device}
    origins = config.origins(sources, plan.config)
    output.json(content | {"config": config.to_dict(), "origins": origins})
    output.text(
        f"corpus {corpus.name}: {words} ({', '.join(f'{k} {n:,}' for k, n in sizes.items())}), "
        f"vocabulary {len(corpus.vocabulary):,}"
    )
    words = parameters_text(parameters, model.num_in_tables())
    output.text(f"model: {cell} ({backend}), {words}, on {device}")
    if config.training.minutes is None:
        from charlm.training.clock import without_measurement

        output.text(without_measurement())
    output.explained_settings(config, origins)


def _conclude(
    run: Run,
    corpus: Any,
    started: Started,
    finished: Finished,
    scores: dict[str, Any],
    output: Output,
) -> None:
    """Write and show the summary."""
    from charlm.training.summary import write_summary

    task = run.task
    summary, about = write_summary(run, corpus, started, finished, scores)
    for warning in about.warnings:
        output.warn(warning)
    output.json(summary)
    how = "stopped" if finished.interrupted else "trained"
    if finished.out_of_patience:
        how = "stopped improving: ended"
    slow = finished.waited - finished.seconds >= LONG_SET_UP
    output.text(
        f"{how} after {epochs_text(finished.epochs)}, {clock(finished.seconds)}, "
        f"{summary[f'{task.unit}_per_second']:,} {task.unit}/s"
        + (f"; {clock(finished.waited)} with the set-up" if slow else "")
    )
    lines = [(task.train_metric, "train", finished.train, _train_words(task, finished))]
    lines += [(task.valid_metric, "valid", finished.valid, _valid_words(task, started, finished))]
    lines += [(task.valid_metric, "test", value, "") for value in scores.values()]
    start = summary.get(f"start_{task.metric_keys[1]}")
    lines += [(task.valid_metric, "before training, valid", start, "")]
    for metric, split, value, words in lines:
        if value is not None:
            output.text(f"{metric.title(split)} {metric.text(value)}{words}")
    means = average_words(task, summary)
    for line in (*means, *gradient_words(summary, run.config.training.clip_norm)):
        output.text(line)
    output.blocks(about.blocks)
    output.text(f"run {run.folder}")
    if (page := run.folder / REPORT_FILE).is_file():
        output.text(f"report {page}")
    if finished.interrupted:
        output.text(f"to resume: {task.command} train --resume{run_option(run)}")


def _train_words(task: Task, finished: Finished) -> str:
    """What the training metric of the summary is about."""
    if finished.train == finished.last_train:
        return " (last epoch)" if finished.epochs >= 1 else f" (of {epochs_text(finished.epochs)})"
    last = task.train_metric.text(finished.last_train)
    return f" (last whole epoch; {last} in the part of an epoch after it)"


def _valid_words(task: Task, started: Started, finished: Finished) -> str:
    """When the validation metric of the summary was measured, and on what part of the split."""
    if finished.best_epoch is None:
        return ""
    words = f" (best, after {epochs_text(finished.best_epoch)}"
    words += f"; last {task.valid_metric.text(finished.last_valid)}"
    if finished.scored < started.valid_size:
        words += f"; on {finished.scored:,} of {started.valid_size:,} {task.unit}"
    return f"{words})"


def run_option(run: Run) -> str:
    """The ``--run`` option that a next command needs; empty for the newest run."""
    from charlm.runs import run_folders

    newest = run.folder in run_folders(run.task)[:1]
    return "" if newest else f" --run {shlex.quote(str(run.folder))}"


def _eval_command(task: Task) -> Any:
    help = "Where the run's data is now, if it has moved."
    new_place = typer.Option(None, task.source_option, metavar="PATH", help=help)

    @takes_output
    @takes_section(task.eval_options)
    def evaluate(
        options: EvalOptions,
        source: str | None = new_place,
        run: GivenRuns = None,
        split: Split = None,
        device: Device = "auto",
        corpora_dir: CorporaDir = None,
        *,
        output: Output,
    ) -> None:
        from charlm.device import select_device

        begun = time.monotonic()
        options.check_split(split)
        plot = options.picture_file()
        kind = picture_kind(plot) if plot else ""
        if run and run[1:]:
            options = options.with_runs(run[1:])
        opened = open_run(task, run[0] if run else None, output)
        if source is not None:
            section = dataclasses.replace(opened.config.corpus, source=source)
            opened.config = dataclasses.replace(opened.config, corpus=section)
        try:
            corpus = opened.load_corpus(corpora_dir, progress=not output.quiet)
        except CorpusError as error:
            if source is not None:
                raise
            left_out = options.without_data()
            if left_out is None:
                hint = error.hint if isinstance(error, FetchError) else moved(task)
                raise CorpusError(error.message, hint) from error
            corpus = None
            output.warn(f"{error.message}; {left_out} ({moved(task)})")
        name = "" if corpus is None else chosen_split(split, corpus.split_sizes, task.min_split)
        with polled() as stop:
            report = task.evaluate(opened, corpus, name, select_device(device), stop, options)
        output.report(opened, report, time.monotonic() - begun)
        if plot and report.picture:
            write_picture(plot, report.picture(kind), output)

    return evaluate


def _predict_command(task: Task) -> Any:
    assert task.predict_argument is not None
    metavar, help = task.predict_argument
    argument = typer.Argument(..., metavar=metavar, help=help)

    @takes_output
    def predict(
        texts: list[str] = argument,
        run: GivenRun = None,
        device: Device = "auto",
        *,
        output: Output,
    ) -> None:
        from charlm.device import select_device

        begun = time.monotonic()
        opened = open_run(task, run, output)
        report = task.predict(opened, lines_given(texts), select_device(device))
        output.report(opened, report, time.monotonic() - begun)

    return predict
