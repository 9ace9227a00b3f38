"""``train --seeds``: the same training with several seeds, and the spread of its metric."""

from __future__ import annotations

import dataclasses
import os.path
import re
import shlex
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.output import Output
from charlm.cli.preparing import tell_plan
from charlm.cli.progress import follow
from charlm.config import Settings
from charlm.config.seeds import parse_seeds
from charlm.errors import RunError, UsageError, counted
from charlm.jobs import Job, run_jobs
from charlm.report.words import TrainingWords, clock
from charlm.task import TASKS, Task

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.training import Event, Finished, Started

_NAME = re.compile(r"(.+)-seed[0-9]+")


def train_seeds(
    task: Task,
    text: str,
    given: Mapping[str, Settings],
    run: str | None,
    resume: bool,
    log: Sequence[str] | None,
    jobs: int,
    corpora_dir: Path | None,
    output: Output,
) -> None:
    """Train a run for each of the seeds in ``text``, ``jobs`` at once, and show the spread."""
    from charlm.training.loggers import find_loggers

    find_loggers(log or ())
    seeds = parse_seeds(text)
    for source in ("option", "--set"):
        if "seed" in given.get(source, {}).get("training", {}):
            raise UsageError("--seeds and a seed are both given", "give only one of them")
    if task.config_type.from_settings(given.values()).corpus.source == "-":
        raise UsageError(
            "--seeds reads the text once for each seed, and standard input cannot be read again",
            "write it to a file, and name the file",
        )
    base, config = _base(task, given, run, resume, corpora_dir, output, seeds)
    each = [
        (task.name, seed, _folder(base, seed), given, config, log or (), corpora_dir)
        for seed in seeds
    ]
    with polled() as stop:
        if jobs == 1:
            job = Job(stop, output.note)
            summaries = []
            for arguments in each:
                output.note(f"seed {arguments[1]}")
                summaries.append(train_seed(*arguments, job, output))
                if stop():
                    break
        else:
            summaries = run_jobs(train_seed, each, jobs, should_stop=stop, note=output.note)
        finished = [summary for summary in summaries if summary and not summary["interrupted"]]
        _show(task, finished, output)
        if len(finished) < len(seeds):
            named = f" --run {shlex.quote(str(base))}" if run is None else ""
            output.text(f"to resume: the same command with --resume{named}")
            stop.raise_if_set()


def _folder(base: Path, seed: int) -> Path:
    return Path(f"{base}-seed{seed}")


def _base(
    task: Task,
    given: Mapping[str, Settings],
    run: str | None,
    resume: bool,
    corpora_dir: Path | None,
    output: Output,
    seeds: Sequence[int],
) -> tuple[Path, Any]:
    """The path of the run folders without the seed, and the configuration of all runs.

    Raises:
        UsageError: a run folder exists already, or a setting is wrong.
        RunError: there is nothing to resume.
    """
    from charlm.runs import Run
    from charlm.runs.folders import CHECKPOINTS, run_folders, run_path, timed_folder

    base = None if run is None else run_path(run)
    if resume and base is None:
        found = (_NAME.fullmatch(folder.name) for folder in run_folders(task))
        newest = next(filter(None, found), None)
        if newest is None:
            raise RunError("there are no runs of several seeds to resume", "leave --resume out")
        base = CHECKPOINTS / newest[1]
    folders = [_folder(base, seed) for seed in seeds] if base else []
    if not resume:
        for folder in folders:
            if os.path.lexists(folder):
                raise UsageError(f"{folder} exists already", "give --run another name, or --resume")
    for folder in folders:
        if (folder / "run.json").exists():  # the others get its settings, which may be planned
            opened = Run.open_to_resume(task, folder, given.values(), output.warn)
            assert base is not None
            return base, opened.config
    plan = task.plan([*given.values()], corpora_dir, progress=not output.quiet)
    tell_plan(plan, given.values(), output)
    return base or timed_folder(f"{plan.corpus.name}-{plan.config.model.cell}"), plan.config


def train_seed(
    name: str,
    seed: int,
    folder: Path,
    given: Mapping[str, Settings],
    config: Any,
    log: Sequence[str],
    corpora_dir: Path | None,
    job: Job,
    output: Output | None = None,
) -> dict[str, Any]:
    """Train one seed, or go on with it, and return its summary; ``name`` is that of the task.

    ``output`` shows the training; without it, its reports are lines for the job.
    """
    from charlm.training.whole import train_whole

    def shown(
        run: Run, corpus: Any, events: Generator[Event, None, None]
    ) -> tuple[Started, Finished]:
        if output is not None:
            return follow(run, corpus, events, output)
        return _in_lines(run, seed, events, job)

    training = dataclasses.replace(config.training, seed=seed)
    _, summary = train_whole(
        TASKS[name],
        {**given, "--seeds": {"training": {"seed": seed}}},
        folder,
        corpora_dir=corpora_dir,
        should_stop=job.should_stop,
        warn=job.note,
        follow=shown,
        config=dataclasses.replace(config, training=training),
        log=log,
    )
    return summary


def _in_lines(
    run: Run, seed: int, events: Generator[Event, None, None], job: Job
) -> tuple[Started, Finished]:
    """Follow a training beside others: a line for each report."""
    from charlm.training import Finished, Measured, Noticed, Started

    words = TrainingWords(run.task)
    for event in events:
        match event:
            case Started():
                started, words.best = event, event.best
                for notice in event.notices:
                    job.note(f"seed {seed}: {notice}")
            case Measured():
                job.note(f"seed {seed}: {words.measured(event)}")
            case Noticed():
                job.note(f"seed {seed}: {event.text}")
            case Finished():
                return started, event
    raise AssertionError("training ends with a Finished event")


def _show(task: Task, summaries: Sequence[dict[str, Any]], output: Output) -> None:
    """The seeds as a table, and the spread of their metric."""
    from charlm.report.comparison import comparison_report
    from charlm.report.groups import compare
    from charlm.runs import Run

    if not summaries:
        output.json({"runs": [], "groups": []})
        return
    runs = [Run.open(summary["run"], weights=False) for summary in summaries]
    comparison = compare(runs, [{**summary, "ended": True} for summary in summaries])
    report = comparison_report(comparison)
    output.json({"runs": list(summaries), "groups": report.content["groups"]})
    keys = [*task.metric_keys]
    keys += [task.valid_metric.key("test")] if task.tests_at_end else []
    metrics = [task.train_metric, task.valid_metric, task.valid_metric]
    output.table(
        ("seed", "run", *(key.replace("_", " ") for key in keys), "epochs", "time"),
        [
            (
                str(summary["seed"]),
                Path(summary["run"]).name,
                *(metric.text(summary[key]) for metric, key in zip(metrics, keys, strict=False)),
                f"{summary['epochs']:.4g}",
                clock(summary["seconds"]),
            )
            for summary in summaries
        ],
        left=2,
    )
    for group in comparison.groups:  # one, unless a run was changed by hand
        metric, spread = comparison.metric(task), group.spread
        if spread.values:
            about = {"mean": spread.mean, "sd": spread.deviation}
            about |= {"min": min(spread.values), "max": max(spread.values)}
            words = ", ".join(f"{name} {metric.text(value)}" for name, value in about.items())
            output.text(f"{comparison.title} over {counted(len(spread.values), 'seed')}: {words}")
    for sentence in report.content["conclusions"]:
        output.text(sentence)
