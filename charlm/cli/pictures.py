"""The options ``--plot`` and ``--html``: check the name of the file, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlm.cli.files import check_file, write_whole
from charlm.cli.output import Output
from charlm.errors import UsageError, shown

Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.png|.svg|.pdf", help="Also draw the result, as a picture in this file."
    ),
]


Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE.html", help="Also write a page, in one file that needs no network."
    ),
]


def picture_kind(plot: Path) -> str:
    """The kind of a picture; a UsageError if it is unknown or the file cannot be made there."""
    from charlm.report.drawing import KINDS

    kind = plot.suffix[1:].lower()
    if kind not in KINDS:
        known = ", ".join(f".{kind}" for kind in KINDS)
        raise UsageError(
            f"--plot {shown(str(plot))} has no known kind of picture", f"known: {known}"
        )
    check_file("--plot", plot)
    return kind


def write_picture(plot: Path, data: bytes, output: Output) -> None:
    """Write the picture, or raise a CharlmError and leave an older picture as it is."""
    write_whole(plot, data)
    output.note(f"picture: {plot}")


def write_page(html: Path, data: bytes, output: Output) -> None:
    """Write the page, or raise a CharlmError and leave an older page as it is."""
    write_whole(html, data)
    output.note(f"page: {html}")
