"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

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


# Every command takes the next four, even if it has no use for one of them, so that a script can
# give the same options to all.
CorporaDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The folder of corpora. [default: $CHARLM_CORPORA, or corpora in the working folder]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only results, warnings and errors.")
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="train|valid|test",
        help="The split to score. [default: test, or valid if there is no test split]",
    ),
]
MovedData = Annotated[
    str | None,
    typer.Option("--data", metavar="PATH", help="The run's data, if it was moved."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--run", metavar="FOLDER", help="The run folder. [default: the newest run]"),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]

# The train commands take these beside their settings.

NewRun = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="FOLDER",
        help="The run folder to create, or to resume. [default: "
        "checkpoints/<time>-<corpus>-<cell>; with --resume: the newest run]",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Resume a run exactly where it was saved. Settings such as --epochs and --minutes may "
        "change.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show all settings and the size of the model, and stop.")
]


def open_run(kind: type[AnyRun], folder: Path | None, output: Output) -> AnyRun:
    """The run in a folder; without a folder the newest run, whose name goes to stderr.

    Raises:
        RunError: there is no run, or it is damaged, or it belongs to another task.
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
    """The arguments; if there is only ``-``, the lines of standard input.

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
    """The run as from `open_run`, with a new path of its data if one is given.

    Raises:
        RunError: as `open_run`.
    """
    run = open_run(kind, folder, output)
    if data is not None:
        corpus = dataclasses.replace(run.config.corpus, source=data)
        run.config = dataclasses.replace(run.config, corpus=corpus)
    return run


def chosen_split(split: str | None, sizes: tuple[int, ...]) -> str:
    """The split to score: the given one, or the first of test, valid and train that has data.

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
