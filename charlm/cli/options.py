"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from charlm.cli.output import Output
    from charlm.runs import Run


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
RunFolder = Annotated[
    Path | None,
    typer.Option("--run", metavar="FOLDER", help="The run folder. [default: the newest run]"),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]


def open_run(folder: Path | None, output: Output) -> Run:
    """The run that was asked for, or the newest one, which is then named on stderr.

    Raises:
        RunError: there is none, or it is damaged.
    """
    from charlm.runs import Run, newest_run

    if folder is None:
        folder = newest_run()
        output.note(f"run: {folder}")
    run = Run.open(folder)
    for notice in run.notices:
        output.warn(notice)
    return run
