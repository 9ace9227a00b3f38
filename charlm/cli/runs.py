"""``charlm runs``: list, describe and compare runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.files import check_file
from charlm.cli.options import RUN, command_group, takes_output
from charlm.cli.output import Output
from charlm.cli.pictures import Html, Plot, picture_kind, write_page, write_picture
from charlm.config.settings import value_text
from charlm.errors import CharlmError, CorpusError, UsageError
from charlm.report.averages import average_summary, average_words
from charlm.report.clipping import gradient_summary, gradient_words, share_text
from charlm.report.words import clock
from charlm.runs.fields import MEANS
from charlm.task import TASKS, Table, samples_by_prefix

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.task import Metric, Task

app = command_group("List, describe and compare runs.")


@app.command("list")
@takes_output
def list_(*, output: Output) -> None:
    """List the runs under checkpoints, the newest first."""
    from charlm.runs import CHECKPOINTS, run_folders

    rows = []
    for folder in run_folders():
        try:
            rows.append(_row(_open(folder)))
        except CharlmError as error:
            output.warn(error.message)
    output.json({"runs": rows})
    if not rows:
        output.note(f"no runs under {CHECKPOINTS}; train one: charlm train")
        return
    output.table(_HEADER, [_cells(row) for row in rows])


@app.command()
@takes_output
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help=f"The run: {RUN}.")],
    plot: Plot = None,
    *,
    output: Output,
) -> None:
    """Describe a run: settings, versions, the last epochs and samples.

    --plot draws the whole training: metrics with simpler predictors as lines, learning rate,
    gradient norms and speed.
    """
    kind = picture_kind(plot) if plot else ""
    opened = _open(run)
    for notice in opened.notices:
        output.warn(notice)
    row = _row(opened)
    gradients = gradient_summary(opened.metrics)
    means = average_summary(opened.task, opened.metrics)
    content = {**row, **means, **gradients, "created": opened.created}
    content |= {
        "config": opened.config.to_dict(),
        "versions": opened.versions,
        "metrics": opened.metrics,
        "samples": opened.samples,
    }
    output.json(content)
    output.text(f"{opened.folder}, made {opened.created}")
    output.text(", ".join(f"{name} {number}" for name, number in opened.versions.items()))
    output.settings(opened.config)
    output.text("")
    if len(opened.metrics) > SHOWN:
        output.text(f"the last {SHOWN} of {len(opened.metrics):,} reports:")
    metric, kinds = opened.task.valid_metric, MEANS if means else ()
    output.table(
        ("epoch", *opened.task.metric_titles(), *kinds, "norm", "largest", "clipped", "time"),
        [
            (
                f"{line['epoch']:.4g}",
                *_scores(opened.task, line),
                *(metric.text(line[f"{kind}_{metric.key('valid')}"]) for kind in kinds),
                *_gradients(line),
                clock(line["seconds"]),
            )
            for line in opened.metrics[-SHOWN:]
        ],
    )
    words = average_words(opened.task, means)
    for line in (*words, *gradient_words(gradients, opened.config.training.clip_norm)):
        output.text(line)
    for sample in samples_by_prefix(opened.samples):
        output.text(f"\n{sample['text']}")
    if plot:
        from charlm.report.curves import learning_picture, training_axes, training_series

        clip_norm, baselines = opened.config.training.clip_norm, _baselines(opened, output)
        series = training_series(opened.task, opened.metrics, clip_norm, baselines)
        over = training_axes(opened.task, opened.metrics)
        write_picture(plot, learning_picture(over, series, opened.folder.name, kind), output)


@app.command("compare")
@takes_output
def compare_(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help=f"Two or more runs, each {RUN}.")
    ],
    plot: Plot = None,
    html: Html = None,
    *,
    output: Output,
) -> None:
    """Compare runs: metrics, settings that differ, and groups of equal settings over seeds.

    Groups are ranked only as far as the spread of their seeds allows.
    --plot draws the metric of all groups over the trainings; --html shows the last samples too.
    """
    from charlm.report.comparison import comparison_report
    from charlm.report.groups import compare, differing_settings

    kind = picture_kind(plot) if plot else ""
    if html:
        check_file("--html", html, ".html")
    if len(runs) < 2:
        raise UsageError("a comparison needs at least two runs", "charlm runs list shows the runs")
    opened = [_open(run) for run in runs]
    rows = [_row(run) for run in opened]
    differing = differing_settings([run.config.by_name() for run in opened])
    comparison = compare(opened, rows)
    report = comparison_report(comparison)
    output.json({"runs": rows, "differing": differing, **report.content})
    numbers = [str(number) for number in range(1, len(opened) + 1)]
    output.numbered([run.folder.name for run in opened])
    names = ("group", *(comparison.group_of(run).name for run in opened))
    columns = zip(_HEADER[1:], *(_cells(row)[1:] for row in rows), strict=True)
    settings_rows = [
        (key, *map(value_text, values)) for key, values in differing.items() if key != "model.cell"
    ]
    short = [row for row in settings_rows if max(map(len, row[1:])) <= WIDE]
    output.table(("", *numbers), [names, *columns, *short])
    for key, *values in (row for row in settings_rows if row not in short):
        output.text(f"\n{key}")
        output.table(("", "value"), [*zip(numbers, values, strict=True)], left=2)
    output.blocks(report.blocks)
    warning = None if comparison.comparable else DIFFERENT
    if warning:
        output.warn(warning)
    if html:
        from charlm.report.comparison_page import comparison_page

        cells = sorted((name, *_cells(row)) for name, row in zip(names[1:], rows, strict=True))
        table = Table(("group", *_HEADER), cells, left=3)
        write_page(html, comparison_page(comparison, table, warning), output)
    if plot:
        from charlm.report.bundles import bundles
        from charlm.report.curves import bundles_picture

        title = f"{comparison.title}; thin: seeds, thick: their mean"
        write_picture(plot, bundles_picture(bundles(comparison), title, kind), output)


SHOWN = 10  # the last reports that `show` prints
DIFFERENT = "the runs differ in their data, splits or cleaning, so their metrics cannot be compared"
WIDE = 16  # longer values of `compare` do not go into columns side by side
_HEADER = ("run", "cell", "parameters", "epochs", "train", "best valid", "time")


def _open(run: str | Path) -> Run:
    """A run without its weights, so without torch."""
    from charlm.runs import Run

    return Run.open(run, weights=False)


def _baselines(run: Run, output: Output) -> Mapping[str, float]:
    """The validation metric of simpler predictors, by name; empty if the data cannot be read."""
    try:
        return run.task.data_facts(run, run.load_corpus()).baselines
    except CorpusError as error:
        output.note(f"{error.message}: the picture has no baselines")
        return {}


def _row(run: Run) -> dict[str, Any]:
    """A row of the lists: from the run's summary, or its last metrics if it has no summary."""
    summary = run.summary() or {}
    last = run.metrics[-1] if run.metrics else {}
    train, valid = run.task.metric_keys
    return {
        "run": str(run.folder),
        "task": run.task.name,
        "corpus": run.corpus["name"],
        "cell": run.config.model.cell,
        "parameters": summary.get("parameters", run.training.get("parameters")),
        "epochs": summary.get("epochs", last.get("epoch")),
        "seconds": summary.get("seconds", last.get("seconds")),
        "ended": bool(summary) and not summary.get("interrupted"),
        train: summary.get(train, last.get(train)),
        valid: summary.get(valid, run.training.get("progress", {}).get("best_valid")),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        Path(row["run"]).name,
        row["cell"],
        "-" if row["parameters"] is None else f"{row['parameters']:,}",
        "-" if row["epochs"] is None else f"{row['epochs']:.4g}",
        *_scores(TASKS[row["task"]], row),
        "-" if row["seconds"] is None else clock(row["seconds"]),
    )


def _gradients(line: dict[str, Any]) -> tuple[str, ...]:
    """The gradient norms and the share of clipped steps of a line of metrics.jsonl, as text."""
    norms = (line["gradient_norm"], line["largest_gradient_norm"])
    words = ["-" if norm is None else f"{norm:.3g}" for norm in norms]
    return (*words, share_text(line["clipped_share"]))


def _metrics(task: Task) -> tuple[tuple[str, Metric], ...]:
    return ("train", task.train_metric), ("valid", task.valid_metric)


def _scores(task: Task, row: dict[str, Any]) -> list[str]:
    """The training and the validation metric of a row, as text."""
    return [metric.text(row[metric.key(split)]) for split, metric in _metrics(task)]
