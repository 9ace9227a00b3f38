"""What a training command does before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.output import Output
from charlm.config import Settings, TaskConfig
from charlm.errors import CorpusError
from charlm.task import Plan, Task

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from charlm.processes import World
    from charlm.runs import Run


@dataclass(frozen=True)
class Prepared:
    """A training that can begin: its data, its configuration with the chosen backend, its device.

    ``given`` is what the user gave, by its source. ``opened`` is the run to resume; None: it is
    new.
    """

    given: Mapping[str, Settings]
    plan: Plan
    config: TaskConfig
    device: torch.device
    opened: Run | None

    def make_run(self, name: str | None) -> Run:
        """The run, whose folder is made if it is new."""
        from charlm.runs import Run

        origins = self.config.origins(self.given, self.plan.config)
        made = self.opened or Run.create(name, self.config, self.plan.corpus, origins)
        made.config = self.config
        return made


def prepare(
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

    opened = Run.open_to_resume(task, run, given.values(), output.warn) if resume else None
    if opened is None:
        plan = task.plan([*given.values()], corpora_dir, progress=not output.quiet)
    else:
        try:
            corpus = opened.load_corpus(corpora_dir, progress=not output.quiet)
        except CorpusError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise CorpusError(error.message, moved(task)) from error
        plan = task.complete(opened.config, corpus)
    for notice in (*plan.corpus.notices, *plan.notices):
        output.note(notice)
    for warning in plan.warnings:
        output.warn(warning)
    for warning in plan.config.idle_notices(given.values()):
        output.warn(warning)
    from charlm.models.build import prepare_device

    return Prepared(given, plan, *prepare_device(plan.config), opened)


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
    return f"{task.source_option} says where the data is now"
