"""``charlm runs``: what has been trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.options import AsJson, CorporaDir, Quiet, Version
from charlm.cli.output import Output, clock, figure_name, figure_of
from charlm.cli.pictures import Plot, picture_kind, write_picture
from charlm.errors import CharlmError, UsageError

if TYPE_CHECKING:
    from charlm.runs import TaskRun

app = typer.Typer(
    help="List, describe and compare runs.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """List the runs under checkpoints, the newest first."""
    from charlm.runs import CHECKPOINTS, run_folders

    output = Output(as_json=as_json, quiet=quiet)
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
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or its name.")],
    plot: Plot = None,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Describe a run: settings, versions, the last epochs and samples.

    --plot draws what was measured over the whole training.
    """
    kind = picture_kind(plot) if plot else ""
    output = Output(as_json=as_json, quiet=quiet)
    opened = _open(run)
    for notice in opened.notices:
        output.warn(notice)
    row = _row(opened)
    output.json(
        {
            **row,
            "created": opened.created,
            "config": opened.config.to_dict(),
            "versions": opened.versions,
            "metrics": opened.metrics,
            "samples": opened.samples,
        }
    )
    output.text(f"{opened.folder}, made {opened.created}")
    output.text(", ".join(f"{name} {number}" for name, number in opened.versions.items()))
    for section, values in opened.config.to_dict().items():
        output.text(f"\n[{section}]")
        for key, value in values.items():
            output.text(f"{key} = {value}")
    output.text("")
    output.table(
        ("epoch", *map(figure_name, opened.figures), "time"),
        [
            (
                f"{line['epoch']:.4g}",
                *(figure_of(name, line[name]) for name in opened.figures),
                clock(line["seconds"]),
            )
            for line in opened.metrics[-10:]
        ],
    )
    last = {sample["prefix"]: sample for sample in opened.samples}
    for sample in last.values():
        output.text(f"\n{sample['text']}")
    if plot:
        from charlm.report.plots import learning_picture

        figures = {name: [line[name] for line in opened.metrics] for name in opened.figures}
        epochs = [line["epoch"] for line in opened.metrics]
        write_picture(plot, learning_picture(epochs, figures, opened.folder.name, kind))
        output.note(f"picture: {plot}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders.")],
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Set runs side by side: perplexities, and the settings in which they differ."""
    if len(runs) < 2:
        raise UsageError("comparing takes two runs at least", "see charlm runs list")
    output = Output(as_json=as_json, quiet=quiet)
    opened = [_open(run) for run in runs]
    rows = [_row(run) for run in opened]
    settings = [
        {
            f"{section}.{key}": value
            for section, values in run.config.to_dict().items()
            for key, value in values.items()
        }
        for run in opened
    ]
    differing = {
        key: [setting.get(key) for setting in settings]
        for key in dict.fromkeys(key for setting in settings for key in setting)
        if any(setting.get(key) != settings[0].get(key) for setting in settings)
    }
    output.json({"runs": rows, "differing": differing})
    output.table(_HEADER, [_cells(row) for row in rows])
    if len({run.corpus["sha256"] for run in opened}) > 1:
        output.warn("the runs have different data: their figures say little of each other")
    if differing:
        output.text("")
        names = [run.folder.name for run in opened]
        output.table(
            ("setting", *names),
            [(key, *map(str, values)) for key, values in differing.items()],
        )


_HEADER = ("run", "cell", "parameters", "epochs", "train", "valid", "time")


def _open(run: Path) -> TaskRun:
    """A run by its folder, or by its name under checkpoints."""
    from charlm.runs import CHECKPOINTS, TaskRun

    named = CHECKPOINTS / run
    return TaskRun.open(named if not run.exists() and named.exists() else run, weights=False)


def _row(run: TaskRun) -> dict[str, Any]:
    """What the lists show of a run; from its last metrics where it did not come to its end."""
    summary = run.summary() or {}
    last = run.metrics[-1] if run.metrics else {}
    if summary.get("seconds") and summary["seconds"] < last.get("seconds", 0):
        summary = {}  # of an earlier sitting: the training has gone on since
    train, valid = run.figures
    return {
        "run": str(run.folder),
        "task": run.task,
        "corpus": run.corpus["name"],
        "cell": run.config.model.cell,
        "parameters": summary.get("parameters", run.training.get("parameters")),
        "epochs": summary.get("epochs", last.get("epoch")),
        "seconds": summary.get("seconds", last.get("seconds")),
        train: summary.get(train, last.get(train)),
        valid: summary.get(valid, run.training.get("position", {}).get("best_valid")),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("train_perplexity", "train_loss", "valid_perplexity", "valid_accuracy", "valid_f1")
    return (
        Path(row["run"]).name,
        row["cell"],
        "-" if row["parameters"] is None else f"{row['parameters']:,}",
        "-" if row["epochs"] is None else f"{row['epochs']:.4g}",
        *(figure_of(name, row[name]) for name in names if name in row),
        "-" if row["seconds"] is None else clock(row["seconds"]),
    )
