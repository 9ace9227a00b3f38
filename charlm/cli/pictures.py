"""The option ``--plot``: check the name of the picture, and write the picture."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Annotated

import typer

from charlm.atomic_files import write_atomic
from charlm.cli.output import Output
from charlm.errors import CharlmError, UsageError, shown

Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png|.svg|.pdf", help="Also draw the result, as a picture in this file."
    ),
]


def picture_kind(plot: Path) -> str:
    """The kind of a picture; a UsageError if it is unknown or the file cannot be made there."""
    from charlm.report.plots import KINDS

    kind = plot.suffix[1:].lower()
    if kind not in KINDS:
        known = ", ".join(f".{kind}" for kind in KINDS)
        raise UsageError(
            f"--plot {shown(str(plot))} has no known kind of picture", f"known: {known}"
        )
    if not os.path.isdir(plot.parent) or os.path.isdir(plot):
        wrong = "is a folder" if os.path.isdir(plot) else "is in a folder that does not exist"
        raise UsageError(f"--plot {shown(str(plot))} {wrong}", "name a file to write")
    return kind


def write_picture(plot: Path, data: bytes, output: Output) -> None:
    """Write the picture, or raise a CharlmError and leave an older picture as it is."""
    try:
        write_atomic(plot, data)
    except OSError as error:
        raise CharlmError(
            f"cannot write {plot}: {error.strerror}", "free some space, or write to another folder"
        ) from None
    output.note(f"picture: {plot}")
