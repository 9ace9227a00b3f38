"""``--plot``: which picture is asked for, and where it goes."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Annotated

import typer

from charlm.atomic_files import write_atomic
from charlm.errors import CharlmError, UsageError, shown

Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE.png|.svg|.pdf", help="Draw it into this file too."),
]


def picture_kind(plot: Path) -> str:
    """The kind of picture that a file's name asks for.

    Raises:
        UsageError: it is none that can be written, or there is no such folder.
    """
    from charlm.report.plots import KINDS

    kind = plot.suffix[1:].lower()
    if kind not in KINDS:
        known = ", ".join(f".{kind}" for kind in KINDS)
        raise UsageError(f"--plot {shown(str(plot))} is no kind of picture", f"known: {known}")
    if not os.path.isdir(plot.parent) or os.path.isdir(plot):
        wrong = "is a folder" if os.path.isdir(plot) else "is in a folder that is not there"
        raise UsageError(f"--plot {shown(str(plot))} {wrong}", "name a file to write")
    return kind


def write_picture(plot: Path, data: bytes) -> None:
    """Write the whole file, or leave what was there.

    Raises:
        CharlmError: it cannot be written.
    """
    try:
        write_atomic(plot, data)
    except OSError as error:
        raise CharlmError(
            f"cannot write {plot}: {error.strerror}", "make room, or write to another place"
        ) from None
