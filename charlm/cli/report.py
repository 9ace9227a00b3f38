"""``charlm report``: pages with the curves, samples, data and settings of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlm.cli.files import check_file, write_whole
from charlm.cli.options import RUN, CorporaDir, takes_output
from charlm.cli.output import Output
from charlm.errors import CorpusError


@takes_output
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN ...]", help=f"Runs, each {RUN}. [default: the newest run]"),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE.html",
            help="Write one page of all runs to this file. [default: report.html in each run "
            "folder]",
        ),
    ] = None,
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Draw the report of a run: one HTML page that needs no network.

    It has the curves with simpler predictors as lines, the samples as they improved, facts about
    the data, what the samples copy from the training text, and all settings. Each training draws
    its report too, at its end and now and then while it runs.
    """
    if file is not None:
        check_file("--output", file, ".html")
    from charlm.report.run_page import FILE, run_page
    from charlm.runs import Run, newest_run
    from charlm.training.run_report import state_of

    folders: list[str | Path] = [*runs] if runs else [newest_run()]
    states = []
    for folder in folders:
        opened = Run.open(folder, weights=False)
        for notice in opened.notices:
            output.warn(notice)
        corpus, missing = None, []
        try:
            corpus = opened.load_corpus(corpora_dir, progress=not output.quiet)
        except CorpusError as error:
            missing = ["The data could not be read, so this page has no baselines and no copies."]
            output.warn(f"{error.message}; the report has no baselines and no copies")
        states.append(state_of(opened, corpus, missing))
    pages = [(state.run.folder / FILE, [state]) for state in states]
    if file is not None:
        pages = [(file, states)]
    for path, shown in pages:
        write_whole(path, run_page(shown))
        output.text(str(path))
    content = [{"run": str(state.run.folder), "state": state.state} for state in states]
    for row, path in zip(content, [path for path, shown in pages for _ in shown], strict=True):
        row["file"] = str(path)
    output.json({"reports": content})
