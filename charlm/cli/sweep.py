"""``charlm sweep``: search for settings."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.files import check_file
from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.options import CorporaDir, Jobs, takes_output
from charlm.cli.output import Output
from charlm.cli.pictures import Html, Plot, picture_kind, write_page, write_picture
from charlm.cli.preparing import tell_plan
from charlm.cli.tasks import run_option
from charlm.errors import CorpusError

if TYPE_CHECKING:
    from charlm.sweeps.file import Sweep
    from charlm.sweeps.results import Result


@takes_output
def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="What to train, and which settings to try.")
    ],
    jobs: Jobs = 1,
    plot: Plot = None,
    html: Html = None,
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Search for settings: train many times, and keep the best run.

    The file names the settings to try (docs/sweep.md). Each trial is a run folder under
    sweeps/<name of the file>. A sweep that was stopped goes on when the command is given again, and
    several machines that share the folder may work at once. --plot draws the metric over the trials
    and over each setting; --html shows it beside the table.
    """
    from charlm.report.sweep_plots import sweep_picture
    from charlm.sweeps.file import read_sweep
    from charlm.sweeps.results import (
        as_json,
        best_of,
        drawable_trials,
        finished,
        results,
        summary,
        table,
    )
    from charlm.sweeps.study import open_study

    kind = picture_kind(plot) if plot else ""
    if html:
        check_file("--html", html, ".html")
    described = read_sweep(file)
    study = open_study(described)
    with polled() as stop:
        if finished(results(study, described)) < described.about.trials:
            _check(described, corpora_dir, output)
            _work(described, jobs, corpora_dir, stop, output)
    found = results(study, described)
    output.json(as_json(found, described))
    shown = table(found, described)
    output.table(shown.header, shown.rows, left=shown.left)
    words = summary(found, described)
    for line in words:
        output.text(line)
    trials = drawable_trials(found, described)
    if plot:
        write_picture(plot, sweep_picture(trials, described.name, kind), output)
    if html:
        from charlm.report.sweep_page import sweep_page

        write_page(html, sweep_page(trials, described.name, words, shown), output)
    if finished(found) < described.about.trials:
        output.text(f"to continue: charlm sweep {shlex.quote(str(file))}")
        stop.raise_if_set()
    elif (best := best_of(found)) is not None:
        _next(described, best, output)


def _check(described: Sweep, corpora_dir: Path | None, output: Output) -> None:
    """Read the data and make the configuration without the searched settings, before any trial."""
    from charlm.models.build import prepare_device

    task, given = described.task, described.given.values()
    plan = task.plan([*given], corpora_dir, progress=not output.quiet)
    tell_plan(plan, given, output)
    for name, reason in described.idle(plan.config).items():
        output.warn(f"{name} is searched, but has no effect: {reason}")
    prepare_device(plan.config)
    if plan.corpus.split_sizes[1] < task.min_split:
        raise CorpusError(
            f"{plan.corpus.name} has no validation split, and a sweep compares trials by it",
            "take a longer text, or another [corpus] split",
        )


def _work(
    described: Sweep, jobs: int, corpora_dir: Path | None, stop: StopFlag, output: Output
) -> None:
    from charlm.jobs import Job, run_jobs
    from charlm.sweeps.worker import work

    if jobs == 1:
        work(described, corpora_dir, Job(stop, output.note))
    else:
        each = (described, corpora_dir)
        run_jobs(work, [each] * jobs, jobs, should_stop=stop, note=output.note)


def _next(described: Sweep, best: Result, output: Output) -> None:
    """Commands to go on with."""
    from charlm.runs import Run
    from charlm.sweeps.results import commands

    if best.run.exists():  # it may be on another machine
        run = Run.open(best.run, weights=False)
        output.text(f"next: {described.task.next_command(run)}{run_option(run)}")
    output.text("is it better than the default settings? with three seeds each:")
    for command in commands(described, best):
        output.text(f"  {command}")
