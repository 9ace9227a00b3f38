"""The end of a training: the score of the test split, summary.json and report.html."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from charlm.corpus import SPLITS
from charlm.errors import Stopped
from charlm.report.averages import average_summary
from charlm.report.clipping import gradient_summary
from charlm.runs import Run
from charlm.runs.files import write_json
from charlm.task import Report, samples_by_prefix
from charlm.training.events import Finished, Started
from charlm.training.run_report import write_final_report


def score_test_split(
    run: Run,
    corpus: Any,
    device: torch.device,
    finished: Finished,
    should_stop: Callable[[], bool],
) -> dict[str, float | None]:
    """The metric of the test split, for tasks with one; None if it is missing or was not scored."""
    if not run.task.tests_at_end:
        return {}
    key = run.task.valid_metric.key("test")
    has_test = corpus.split_sizes[SPLITS.index("test")] >= run.task.min_split
    if has_test and finished.tests and not finished.interrupted:
        with suppress(Stopped):
            return {key: run.task.evaluate(run, corpus, "test", device, should_stop).content[key]}
    return {key: None}


def write_summary(
    run: Run, corpus: Any, started: Started, finished: Finished, scores: dict[str, float | None]
) -> tuple[dict[str, Any], Report]:
    """Write summary.json and report.html.

    Returns:
        The content of summary.json, and the task's conclusion, which is a part of it. It warns if
        report.html could not be written.

    Raises:
        RunError: the run folder cannot be written to.
    """
    task = run.task
    metrics = dict(zip(task.metric_keys, (finished.train, finished.valid), strict=True))
    last = (finished.last_train, finished.last_valid)
    metrics |= {f"last_{key}": value for key, value in zip(task.metric_keys, last, strict=True)}
    valid = None if finished.interrupted else finished.valid
    about = task.conclude(run, corpus, valid, finished.prepared)
    if run.metrics and run.metrics[0]["step"] == 0:  # before the first step, with --from-run
        metrics[f"start_{task.metric_keys[1]}"] = run.metrics[0][task.metric_keys[1]]
    summary = {
        "run": str(run.folder),
        "task": task.name,
        "corpus": corpus.name,
        "cell": run.config.model.cell,
        "backend": run.config.model.backend,
        "parameters": started.parameters,
        "device": started.device,
        "seed": run.config.training.seed,
        "epochs": finished.epochs,
        f"{task.unit}_seen": finished.items,
        "seconds": round(finished.seconds, 2),
        "seconds_with_set_up": round(finished.waited, 2),
        f"{task.unit}_per_second": round(finished.items / finished.seconds),
        **metrics,
        f"valid_{task.unit}": started.valid_size,
        f"valid_{task.unit}_scored": finished.scored,
        "best_epoch": finished.best_epoch,
        **average_summary(task, run.metrics),
        **gradient_summary(run.metrics),
        "interrupted": finished.interrupted,
        **scores,
        **about.content,
    }
    if task.has_samples:
        summary["samples"] = samples_by_prefix(run.samples)
    write_json(run.folder / "summary.json", summary)
    warning = write_final_report(run, corpus, summary, finished.prepared)
    return summary, replace(about, warnings=[*about.warnings, *([warning] if warning else [])])
