"""Which weights of a training with averaging were kept: the weights themselves, or their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charlm.task import Task


def average_summary(task: Task, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Both scores at the report with the best metric, and which weights were kept there.

    Empty if the best report is of a time when there was no mean.

    Args:
        metrics: the lines of metrics.jsonl.
    """
    key = task.metric_keys[1]
    best: Mapping[str, Any] = {}
    for row in metrics:
        value = row[key]
        if value is not None and (not best or task.valid_metric.is_better(value, best[key])):
            best = row
    raw, averaged = (best.get(f"{kind}_{key}") for kind in ("raw", "averaged"))
    if raw is None or averaged is None:
        return {}
    kept = "averaged" if averaged == best[key] else "raw"
    return {"weights_kept": kept, f"raw_{key}": raw, f"averaged_{key}": averaged}


def average_words(task: Task, summary: Mapping[str, Any]) -> list[str]:
    """One line on the two scores.

    Args:
        summary: has what `average_summary` returned.
    """
    metric, key = task.valid_metric, task.metric_keys[1]
    if "weights_kept" not in summary:
        return []
    raw, averaged = (metric.text(summary[f"{kind}_{key}"]) for kind in ("raw", "averaged"))
    kept = "the mean was" if summary["weights_kept"] == "averaged" else "the weights were"
    title = metric.title("valid")
    return [f"{title} of the weights {raw}, of their mean {averaged}: {kept} kept"]
