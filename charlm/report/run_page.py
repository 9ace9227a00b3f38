"""The report of a run, as one HTML page: curves, samples, data, settings and speed.

A page of a training that goes on looks for a newer one by itself.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config import TaskConfig
from charlm.corpus import SPLITS
from charlm.errors import counted
from charlm.pages import CHARTS, page
from charlm.report.averages import average_words
from charlm.report.clipping import gradient_summary, gradient_words
from charlm.report.words import clock, epochs_text
from charlm.task import DataFacts, Metric, Table, Task

if TYPE_CHECKING:
    from charlm.runs import Run

FILE = "report.html"  # in the run folder
MOST_ROWS = 2_000  # reports that the curves of a page show,
MOST_SETS = 200  # sets of samples that it has,
MOST_TEXT = 300_000  # and characters of them: the page stays under 2 MB
TRAINING, COMPLETE, INTERRUPTED, FAILED, UNFINISHED = (
    *("training", "complete", "interrupted", "failed", "unfinished"),
)
_STATES = {
    TRAINING: "The training is running; this page updates itself.",
    COMPLETE: "The training is complete.",
    INTERRUPTED: "The training was interrupted; --resume continues it.",
    FAILED: "The training ended with an error.",
    UNFINISHED: "The training has not ended.",
}


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What the report of a run shows.

    Attributes:
        state: one of the words above.
        parameters: the number of weights; None: not known.
        device: the kind of device; empty: not known.
        metrics, samples: as those of the run, which may be of an earlier checkpoint.
        summary: as in summary.json; empty before the end.
        data: what the task says about the data; None: the data could not be read.
        copies: what the task says about the last samples.
        notices: sentences about this report.
    """

    run: Run
    state: str
    parameters: int | None
    device: str
    metrics: Sequence[Mapping[str, Any]]
    samples: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    data: DataFacts | None = None
    copies: Sequence[str | Table] = ()
    notices: Sequence[str] = ()


def run_page(states: Sequence[RunState]) -> bytes:
    """The page of one run or several, one below the other."""
    runs = [_content(state, len(states)) for state in states]
    names = [run["name"] for run in runs]
    title = names[0] if len(names) == 1 else f"{len(names)} runs"
    scripts = [*CHARTS, "report.js"]
    style = ["uplot/uPlot.min.css"]
    return page("report.html", title=title, data={"runs": runs}, scripts=scripts, styles=style)


def _content(state: RunState, pages: int) -> dict[str, Any]:
    """What the scripts of the page read, for one of its ``pages`` runs."""
    run, task = state.run, state.run.task
    rows = thinned(state.metrics, MOST_ROWS // pages)
    gradients = gradient_words(gradient_summary(state.metrics), run.config.training.clip_norm)
    words = [state.summary.get("conclusion"), *average_words(task, state.summary), *gradients]
    if len(rows) < len(state.metrics):
        words.append(f"The curves show {len(rows):,} of {len(state.metrics):,} reports.")
    return {
        "name": run.folder.name,
        "state": state.state,
        "about": _STATES[state.state],
        "drawn": round(time.time()),
        "unit": task.unit,
        "headline": _headline(state),
        "meaning": task.valid_metric.meaning,
        "notices": [*run.notices, *state.notices],
        "words": [word[0].upper() + word[1:] for word in words if word],
        "over": {
            f"{task.unit} seen": [row[task.unit] for row in rows],
            "time": [round(row["seconds"], 3) for row in rows],
            "epochs": [_number(row["epoch"]) for row in rows],
        },
        "charts": _charts(state, rows),
        "samples": _sample_sets(state, pages),
        "facts": _facts(state),
        "data": [*map(_block, state.data.blocks if state.data else ())],
        "copies": [*map(_block, state.copies)],
        "settings": _settings(run.config, run.origins),
    }


def thinned(rows: Sequence[Any], most: int) -> list[Any]:
    """At most ``most`` of the rows (at least 2), evenly spread, with the first and the last."""
    if len(rows) <= most:
        return list(rows)
    last, steps = len(rows) - 1, max(most, 2) - 1
    return [rows[round(number * last / steps)] for number in range(steps + 1)]


def _number(value: float | None) -> float | None:
    """A number with the digits that a curve shows; None also for one that is not finite."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _headline(state: RunState) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, remark."""
    task, summary = state.run.task, state.summary
    last = state.metrics[-1] if state.metrics else {}
    train_key, valid_key = task.metric_keys
    best = best_row(task, state.metrics)
    valid = summary.get(valid_key, best and best[valid_key])
    found = []
    if valid is not None:
        after = f"best, after {epochs_text(best['epoch'])}" if best else ""
        found.append((task.valid_metric.title("valid"), valid, task.valid_metric, after))
    test = summary.get(task.valid_metric.key("test"))
    if test is not None:
        found.append((task.valid_metric.title("test"), test, task.valid_metric, "best weights"))
    train = summary.get(train_key, last.get(train_key))
    if train is not None:
        found.append((task.train_metric.title("train"), train, task.train_metric, "last epoch"))
    rows = [
        (title, metric.text(value), ", ".join(filter(None, (_in_bits(metric, value), remark))))
        for title, value, metric, remark in found
    ]
    seconds = summary.get("seconds", last.get("seconds"))
    items = summary.get(f"{task.unit}_seen", last.get(task.unit))
    if seconds and items:
        epochs = epochs_text(summary.get("epochs", last.get("epoch", 0)))
        rows.append(("time", clock(seconds), epochs))
        rows.append((f"{task.unit} per second", f"{items / seconds:,.0f}", state.device))
    if state.parameters is not None:
        rows.append(("parameters", f"{state.parameters:,}", str(state.run.config.model.cell)))
    return rows


def best_row(task: Task, metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first report with the best validation metric; None: none was measured."""
    key, best = task.metric_keys[1], None
    for row in metrics:
        if row[key] is not None and (
            best is None or task.valid_metric.is_better(row[key], best[key])
        ):
            best = row
    return best


def _in_bits(metric: Metric, value: float) -> str:
    return f"{math.log2(value):.3f} {metric.bits}" if metric.bits and value > 0 else ""


def _charts(state: RunState, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The curves: metrics with the baselines as lines, learning rate, gradient norm, speed."""
    task, clip_norm = state.run.task, state.run.config.training.clip_norm
    train_key, valid_key = task.metric_keys

    def curve(label: str, key: str) -> dict[str, Any]:
        return {"label": label, "values": [_number(row.get(key)) for row in rows]}

    charts: dict[Metric, dict[str, Any]] = {}
    for split, key, metric in (
        ("train", train_key, task.train_metric),
        ("valid", valid_key, task.valid_metric),
    ):
        title = (metric.label or metric.name) + (" (%)" if metric.percent else "")
        about = {"bits": metric.bits, "logarithmic": bool(metric.bits), "score": True}
        charts.setdefault(metric, {**_chart(title, []), **about})
        charts[metric]["series"].append(curve(split, key))
    valid = charts[task.valid_metric]
    if any(row.get(f"averaged_{valid_key}") is not None for row in rows):
        valid["series"].append(curve("valid, of the weights", f"raw_{valid_key}"))
        valid["series"].append(curve("valid, of their mean", f"averaged_{valid_key}"))
    baselines = state.data.baselines if state.data else {}
    values = {name: _number(value) for name, value in baselines.items()}
    valid["lines"] = [(name, value) for name, value in values.items() if value is not None]
    norms = [curve("mean", "gradient_norm"), curve("largest", "largest_gradient_norm")]
    clip = [("clipping threshold", clip_norm)] if clip_norm else []
    return [
        *charts.values(),
        _chart("learning rate", [curve("learning rate", "learning_rate")]),
        {**_chart("gradient norm before clipping", norms, clip), "logarithmic": True},
        _chart(
            f"{task.unit} per second",
            [{"label": "between two reports", "values": [*map(_number, speeds(task, rows))]}],
        ),
    ]


def _chart(title: str, series: list[Any], lines: Sequence[Any] = ()) -> dict[str, Any]:
    about = {"title": title, "series": series, "lines": lines}
    return {**about, "bits": "", "logarithmic": False, "score": False}


def speeds(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """The items per second between two reports, with their validation; None: too few items."""
    pairs = [*itertools.pairwise([{task.unit: 0, "seconds": 0.0}, *rows])]
    done = [row[task.unit] - last[task.unit] for last, row in pairs]
    # The last report may come soon after the one before: its time is that of the validation.
    least = max(1, 0.2 * statistics.median(done)) if done else 1
    return [
        items / max(row["seconds"] - last["seconds"], 1e-6) if items >= least else None
        for items, (last, row) in zip(done, pairs, strict=True)
    ]


def _sample_sets(state: RunState, pages: int) -> dict[str, Any]:
    """The samples by the time when they were written, the first set first."""
    sets: dict[float, list[tuple[str, str]]] = {}
    for sample in state.samples:
        text = sample["text"].removeprefix(sample["prefix"])
        sets.setdefault(sample["epoch"], []).append((sample["prefix"], text))
    rows = {row["epoch"]: row for row in state.metrics}
    kept = thinned([*sets.items()], MOST_SETS // pages or 2)
    room = MOST_TEXT // pages // max(1, sum(len(texts) for _, texts in kept))
    longest = max((len(text) for _, texts in kept for _, text in texts), default=0)
    words = [f"{len(kept):,} of {len(sets):,} sets"] if len(kept) < len(sets) else []
    words += [f"the first {room:,} characters of each"] if longest > room else []
    return {
        "shown": f"This page has {' and '.join(words)}." if words else "",
        "sets": [
            {
                "when": _when(state.run.task, epoch, rows.get(epoch)),
                "texts": [(prefix[:room], text[:room]) for prefix, text in texts],
            }
            for epoch, texts in kept
        ],
    }


def _when(task: Task, epoch: float, row: Mapping[str, Any] | None) -> str:
    """The time of a set of samples, and the score there."""
    words = f"after {epochs_text(epoch)}"
    if row is None:
        return words
    value = row[task.metric_keys[1]]
    score = "" if value is None else f", {task.valid_metric.title('valid')} "
    score += "" if value is None else task.valid_metric.text(value)
    return f"{words}, {clock(row['seconds'])}{score}"


def _facts(state: RunState) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the run is, and what its data is: names and values."""
    run, summary = state.run, state.summary
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    corpus = run.corpus
    sizes = zip(SPLITS, corpus["split"], strict=True)
    about = {
        "task": run.task.name,
        "cell": f"{run.config.model.cell} ({run.config.model.backend})",
        "device": state.device,
        "seed": str(run.config.training.seed),
        "time with the set-up": clock(summary["seconds_with_set_up"])
        if summary.get("seconds_with_set_up")
        else "",
        "reports": counted(len(state.metrics), "report"),
        "made": run.created.replace("T", " "),
        "versions": versions,
    }
    data = {
        "name": corpus["name"],
        "source": without_home(corpus["source"]),
        "SHA-256": corpus["sha256"],
        "splits": ", ".join(f"{name} {size:,}" for name, size in sizes),
        **(state.data.facts if state.data else {}),
    }
    return [
        (title, [(name, value) for name, value in facts.items() if value])
        for title, facts in (("The run", about), ("The data", data))
    ]


def _block(block: str | Table) -> Any:
    if isinstance(block, str):
        return block
    return {"header": [*block.header], "rows": [[*row] for row in block.rows], "left": block.left}


def _settings(
    config: TaskConfig, origins: Mapping[str, Mapping[str, str]]
) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Of each section its settings: name, value, where the value came from, meaning."""
    sections, idle = [], config.idle()
    for section, values in config.to_dict().items():
        kind = config.sections()[section]
        about, defaults, rows = kind.settings(), kind.defaults(), []
        for key, value in values.items():
            # An older run did not keep the origins.
            unknown = "default" if value == defaults[key] else "-"
            meaning = about[key].summary
            if reason := idle.get((section, key)):
                meaning += f" No effect here: {reason}."
            origin = origins.get(section, {}).get(key, unknown)
            rows.append((key, without_home(about[key].text(value)), origin, meaning))
        sections.append((section, rows))
    return sections


def without_home(text: str) -> str:
    """A path with ``~`` in place of the user's home folder, whose name others need not read."""
    home = str(Path.home()) + os.sep
    return f"~{os.sep}{text[len(home) :]}" if text.startswith(home) else text
