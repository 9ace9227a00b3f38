"""report.html in the run folder: drawn at the end of a training, and now and then while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charlm.report.run_page import (
    COMPLETE,
    FILE,
    INTERRUPTED,
    TRAINING,
    UNFINISHED,
    RunState,
    run_page,
)
from charlm.runs import Run
from charlm.runs.files import write_file
from charlm.task import DataFacts

if TYPE_CHECKING:
    from charlm.training.trainer import Trainer

DRAWING = 0.02  # the largest share of the time for drawing while a training runs
FIRST = 0.04  # seconds that the first drawing is expected to take
AT_END = 0.2  # seconds that looking for copies may take at the end of a short training


class LiveReport:
    """Draws the report of a training that runs. If that fails, the training goes on without."""

    def __init__(self, run: Run, trainer: Trainer, corpus: Any, prepared: Any) -> None:
        self._run, self._trainer, self._corpus = run, trainer, corpus
        self._prepared = prepared
        self._data: DataFacts | None = None
        self._drawn_at, self._cost = trainer.clock.now(), FIRST
        self._drawn = self._failed = False

    def draw_when_due(self) -> str | None:
        """Draw the report if that takes little of the time; a warning if it failed."""
        clock, world = self._trainer.clock, self._trainer.world
        if self._failed or (clock.now() - self._drawn_at) * DRAWING < self._cost:
            return None
        with clock.timing("report"):
            warning = world.from_first(self._draw(TRAINING) if world.first else None)
        self._drawn_at, self._cost = clock.now(), clock.costs["report"]
        self._drawn, self._failed = True, warning is not None
        return warning

    def end(self, state: str) -> None:
        """Draw the report once more if it was drawn, so that its page stops looking for news."""
        if self._drawn and self._trainer.world.first:
            self._draw(state)

    def _draw(self, state: str) -> str | None:
        run, trainer = self._run, self._trainer
        try:
            if self._data is None:
                self._data = run.task.data_facts(run, self._corpus, self._prepared)
            now = RunState(
                run=run,
                state=state,
                parameters=trainer.model.num_parameters(),
                device=trainer.device.type,
                metrics=trainer.metrics,
                samples=trainer.samples,
                summary={},
                data=self._data,
            )
            write_file(run.folder / FILE, run_page([now]))
        except Exception as error:  # whatever it is, the training is worth more
            return _without(run, error)
        return None


def write_final_report(
    run: Run, corpus: Any, summary: Mapping[str, Any], prepared: Any
) -> str | None:
    """Draw the report of a training that has ended here; a warning if that failed.

    Args:
        summary: the content of summary.json.
        prepared: what `Task.prepare_conclusion` returned.
    """
    try:
        budget = AT_END + DRAWING * summary["seconds"]
        state = RunState(
            run=run,
            state=INTERRUPTED if summary["interrupted"] else COMPLETE,
            parameters=summary["parameters"],
            device=summary["device"],
            metrics=run.metrics,
            samples=run.samples,
            summary=summary,
            data=run.task.data_facts(run, corpus, prepared),
            copies=run.task.sample_facts(run, corpus, budget),
        )
        write_file(run.folder / FILE, run_page([state]))
    except Exception as error:  # whatever it is, the training is worth more
        return _without(run, error)
    return None


def state_of(run: Run, corpus: Any, notices: Sequence[str] = ()) -> RunState:
    """What the report of an opened run shows; ``corpus`` None: the data could not be read.

    Raises:
        RunError: summary.json is damaged.
    """
    summary = run.summary() or {}
    ended = INTERRUPTED if summary.get("interrupted") else COMPLETE
    task = run.task
    return RunState(
        run=run,
        state=ended if summary else UNFINISHED,
        parameters=run.training.get("parameters"),
        device=run.training.get("device", ""),
        metrics=run.metrics,
        samples=run.samples,
        summary=summary,
        data=None if corpus is None else task.data_facts(run, corpus),
        copies=() if corpus is None else task.sample_facts(run, corpus, math.inf),
        notices=notices,
    )


def _without(run: Run, error: Exception) -> str:
    return f"no report of {run.folder}: {error}"
