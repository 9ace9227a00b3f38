"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from charlm.config import (
    CELLS,
    Layer,
    TaskConfig,
    layer_from_preset,
    layer_from_toml,
    preset_names,
)
from charlm.corpus import SPLITS, read_text
from charlm.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from charlm.cli.output import Output
    from charlm.runs import TaskRun

AnyRun = TypeVar("AnyRun", bound="TaskRun")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"charlm {version('charlm')}")
        raise typer.Exit


# Every command takes the next four, those too that have no use for one of them, so that a script
# can give the same options to all.
CorporaDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where corpora lie. [default: $CHARLM_CORPORA, else corpora in the working folder]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and exit."),
]
Split = Annotated[
    str | None,
    typer.Option(metavar="train|valid|test", help="[default: test, or valid without one]"),
]
MovedData = Annotated[
    str | None,
    typer.Option("--data", metavar="PATH", help="Where the data of the run lie now."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--run", metavar="FOLDER", help="The run folder. [default: the newest run]"),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]

# The next are of all commands that train.


def preset_option(task: str) -> Any:
    """``--preset`` of a task, with the names that it takes."""
    names = ", ".join(preset_names(task))
    return typer.Option(metavar="NAME", help=f"Settings by name: {names}.")


ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings from a file.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting; can be given repeatedly."),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of an own text. [default: UTF-8]")
]
Cell = Annotated[str | None, typer.Option(metavar="|".join(CELLS), help="The recurrent cell.")]
Backend = Annotated[
    str | None, typer.Option(metavar="scratch|torch", help="By the equations, or torch's own.")
]
HiddenSize = Annotated[int | None, typer.Option(metavar="N", help="Units of a layer.")]
NumLayers = Annotated[int | None, typer.Option(metavar="N", help="Recurrent layers.")]
Bidirectional = Annotated[
    bool | None,
    typer.Option("--bidirectional/--one-way", help="Read both ways, or from the start alone."),
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Rows of a batch.")]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", help="End after N times through the data.")
]
Minutes = Annotated[float | None, typer.Option(metavar="F", help="End after F minutes.")]
LearningRate = Annotated[float | None, typer.Option("--lr", metavar="F", help="Learning rate.")]
ClipNorm = Annotated[
    float | None, typer.Option(metavar="F", help="Clip the global gradient norm to F.")
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", help="End after N validations in a row without a better figure."),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Of every random choice.")]
TrainDevice = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda|mps", help="Where to train.")
]
NewRun = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="FOLDER",
        help="The folder to make, or to go on with. [default: "
        "checkpoints/<time>-<corpus>-<cell>; with --resume: the newest run]",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with a run exactly where it was saved; --epochs, --minutes and the like "
        "may be others.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic", help="On CUDA: slower, and the same numbers for the same seed."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and stop.")]


def settings_layers(
    config: type[TaskConfig],
    preset: str | None,
    file: Path | None,
    options: Mapping[str, Mapping[str, Any]],
    assignments: list[str] | None,
) -> list[Layer]:
    """What the user gave, from the lowest layer up.

    Raises:
        UsageError: there is no such preset, file or setting.
    """
    layers: list[Layer] = []
    if preset is not None:
        layers.append(layer_from_preset(config.task, preset))
    if file is not None:
        layers.append(layer_from_toml(file))
    layers.append(
        {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in options.items()
        }
    )
    layers.append(config.layer_from_assignments(assignments or []))
    return layers


def open_run(kind: type[AnyRun], folder: Path | None, output: Output) -> AnyRun:
    """The run that was asked for, or the newest one, which is then named on stderr.

    Raises:
        RunError: there is none, or it is damaged, or of another task.
    """
    from charlm.runs import newest_run

    if folder is None:
        folder = newest_run(kind.task, kind.command)
        output.note(f"run: {folder}")
    run = kind.open(folder)
    for notice in run.notices:
        output.warn(notice)
    return run


def lines_given(arguments: list[str]) -> list[str]:
    """The arguments; or, where they are ``-`` alone, the lines of standard input.

    Raises:
        CorpusError: standard input is empty, or not UTF-8.
    """
    if arguments != ["-"]:
        return arguments
    try:
        return read_text("-").text.removesuffix("\n").split("\n")
    except CorpusError as error:  # whose hints are about files
        raise CorpusError(error.message, "write lines of text to it, in UTF-8") from None


def open_with_data(
    kind: type[AnyRun], folder: Path | None, data: str | None, output: Output
) -> AnyRun:
    """As `open_run`; its data may lie elsewhere than they did.

    Raises:
        RunError: as `open_run`.
    """
    run = open_run(kind, folder, output)
    if data is not None:
        corpus = dataclasses.replace(run.config.corpus, source=data)
        run.config = dataclasses.replace(run.config, corpus=corpus)
    return run


def chosen_split(split: str | None, sizes: tuple[int, ...]) -> str:
    """The split that was asked for, or the test split, or what there is.

    Raises:
        UsageError: there is no such split, or it is empty.
    """
    of = dict(zip(SPLITS, sizes, strict=True))
    if split is None:
        return next(name for name in ("test", "valid", "train") if of[name])
    if split not in of:
        raise UsageError(f"unknown split {split!r}", f"there are {', '.join(of)}")
    if not of[split]:
        known = ", ".join(name for name, size in of.items() if size)
        raise UsageError(f"the {split} split is empty", f"these are not: {known}")
    return split
