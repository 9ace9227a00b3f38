"""What a training command does before it trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.output import Output
from charlm.config import Settings
from charlm.errors import CorpusError
from charlm.task import Plan, Task

if TYPE_CHECKING:
    from pathlib import Path

    from charlm.processes import World
    from charlm.training.preparing import Prepared


def prepared_training(
    task: Task,
    given: Mapping[str, Settings],
    run: str | None,
    resume: bool,
    corpora_dir: Path | None,
    output: Output,
) -> Prepared:
    """A training that can begin; notices and warnings about it are shown.

    Raises:
        CharlmError: a setting, the data or the run to resume is not usable.
    """
    from charlm.runs import Run
    from charlm.training.preparing import prepare

    opened = Run.open_to_resume(task, run, given.values(), output.warn) if resume else None

    def tell(plan: Plan) -> None:
        tell_plan(plan, given.values(), output)

    try:
        return prepare(task, given, opened, corpora_dir, progress=not output.quiet, tell=tell)
    except CorpusError as error:
        if opened is None or not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise CorpusError(error.message, moved(task)) from error


def tell_plan(plan: Plan, given: Iterable[Settings], output: Output) -> None:
    """Show what the user should know about the data and the settings of a training."""
    for notice in (*plan.corpus.notices, *plan.notices):
        output.note(notice)
    for warning in (*plan.warnings, *plan.config.idle_notices(given)):
        output.warn(warning)


def train_beside(world: World, corpora_dir: Path | None) -> None:
    """Take part in the training of the process with rank 0, which shows and writes everything."""
    from charlm.models.build import prepare_device
    from charlm.training import Finished, train

    nothing: Any = None
    run, begun = world.from_first(nothing)
    corpus, (_, device) = run.load_corpus(corpora_dir), prepare_device(run.config)
    with polled() as stop:
        for event in train(run, corpus, device=device, should_stop=stop, begun=begun):
            if isinstance(event, Finished) and event.interrupted:
                stop.raise_if_set()


def moved(task: Task) -> str:
    """The hint for data that is not where it was."""
    return f"use {task.source_option} to say where the data is now"
