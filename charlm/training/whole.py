"""A whole training, from the settings to summary.json."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from charlm.config import Settings
from charlm.runs import Run
from charlm.task import Task
from charlm.training.events import Event, Finished, Started
from charlm.training.loggers import find_loggers
from charlm.training.loop import train
from charlm.training.preparing import prepare
from charlm.training.summary import score_test_split, write_summary

Follow = Callable[[Run, Any, Generator[Event, None, None]], tuple[Started, Finished]]
"""Takes the run, its data and the events of its training; returns the first and the last event."""


def train_whole(
    task: Task,
    given: Mapping[str, Settings],
    folder: Path,
    *,
    corpora_dir: str | Path | None,
    should_stop: Callable[[], bool],
    warn: Callable[[str], object],
    follow: Follow,
    config: Any = None,
    log: Sequence[str] = (),
) -> tuple[Finished, dict[str, Any]]:
    """Train a run with some settings, or go on with it where its folder has one.

    Args:
        given: what the user gave, by source, in the order in which it is merged.
        folder: the run folder.
        warn: called with each notice about a run that is resumed, and each warning at the end.
        config: for a new run, in place of the planned configuration, which may depend on the speed.
        log: names of loggers.

    Returns:
        The last event, and the content of summary.json.

    Raises:
        CharlmError: as of ``charlm.train``; UsageError for settings that do not go together.
    """
    begun = time.monotonic()
    opened = None
    if (folder / "run.json").exists():
        opened = Run.open_to_resume(task, folder, given.values(), warn)
    prepared = prepare(task, given, opened, corpora_dir, progress=False, config=config)
    run, corpus, device = prepared.make_run(folder), prepared.plan.corpus, prepared.device
    loggers = [kind(run) for kind in find_loggers(log)]
    events = train(
        run, corpus, device=device, should_stop=should_stop, begun=begun, loggers=loggers
    )
    with closing(events):
        started, finished = follow(run, corpus, events)
    scores = score_test_split(run, corpus, device, finished, should_stop)
    summary, about = write_summary(run, corpus, started, finished, scores)
    for warning in about.warnings:
        warn(warning)
    return finished, summary
