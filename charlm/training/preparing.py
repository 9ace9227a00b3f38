"""What comes before a training: its data, its configuration, its device, and its run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from charlm.config import Settings, TaskConfig
from charlm.models.build import prepare_device
from charlm.runs import Run
from charlm.task import Plan, Task


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

    def make_run(self, run: str | Path | None) -> Run:
        """The run, whose folder is made if it is new; ``run`` is as of `Run.create`."""
        origins = self.config.origins(self.given, self.plan.config)
        made = self.opened or Run.create(run, self.config, self.plan.corpus, origins)
        made.config = self.config
        return made


def prepare(
    task: Task,
    given: Mapping[str, Settings],
    opened: Run | None,
    corpora_dir: str | Path | None,
    *,
    progress: bool,
    tell: Callable[[Plan], object] = lambda plan: None,
    config: TaskConfig | None = None,
) -> Prepared:
    """A training that can begin.

    Args:
        given: what the user gave, by source, in the order in which it is merged.
        opened: the run to resume; None: a new one.
        progress: show the progress of a download.
        tell: called with the plan before its device is looked for.
        config: for a new run, in place of the planned configuration, which may depend on the speed.

    Raises:
        CharlmError: a setting, the data or the device is not usable.
    """
    if opened is None:
        plan = task.plan([*given.values()], corpora_dir, progress=progress)
        plan = plan if config is None else replace(plan, config=config)
    else:
        plan = task.complete(opened.config, opened.load_corpus(corpora_dir, progress=progress))
    tell(plan)
    return Prepared(given, plan, *prepare_device(plan.config), opened)
