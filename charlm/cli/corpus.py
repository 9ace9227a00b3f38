"""``charlm corpus``: list, describe, download and add corpora."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli.options import CorporaDir, command_group, takes_output
from charlm.cli.output import Output
from charlm.corpus.addresses import check_is_no_address
from charlm.errors import UsageError, did_you_mean
from charlm.tasks import LANGUAGE_MODEL, TASKS

app = command_group("List, describe, download and add corpora.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that charlm corpus list shows.")]
NameOrFile = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE", help="A name that charlm corpus list shows, or a text of your own."
    ),
]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Encoding of your own text. [default: UTF-8]")
]


@app.command("list")
@takes_output
def list_(corpora_dir: CorporaDir = None, *, output: Output) -> None:
    """List the corpora that charlm knows by name."""
    from charlm.corpus import catalogue, corpus_names, locate

    rows = []
    for entry in catalogue().values():
        where = "bundled" if entry.bundled else "downloaded"
        if locate(entry, corpora_dir) is None:
            where = "not here"
        rows.append((entry.name, entry.task, where, entry.description))
    rows += [
        (name, LANGUAGE_MODEL.name, "added", "your own text") for name in corpus_names(corpora_dir)
    ]
    names = ("name", "task", "where", "about")
    output.json({"corpora": [dict(zip(names, row, strict=True)) for row in rows]})
    output.table(names, rows, left=len(names))


@app.command()
@takes_output
def show(
    name: NameOrFile, encoding: Encoding = None, corpora_dir: CorporaDir = None, *, output: Output
) -> None:
    """Describe a corpus, and show its first lines.

    It also says how much of the held-out text, the valid and test splits, repeats the training text
    or itself word for word, because that makes every score look strange.
    """
    from charlm.corpus import catalogue, locate
    from charlm.tasks.language_model.corpus import load_corpus
    from charlm.tasks.language_model.repeats import repeats, repeats_words

    entry = catalogue().get(name)
    content: dict[str, Any] = {} if entry is None else dataclasses.asdict(entry)
    files = ", ".join(file.path for file in entry.files) if entry is not None else ""
    if entry is not None and entry.task != LANGUAGE_MODEL.name:
        path = locate(entry, corpora_dir)
        content["path"] = None if path is None else str(path)
        output.json(content)
        _tell(output, content | {"files": files})
        task = TASKS[entry.task]
        output.text(f"\nnext: {task.command} train {task.source_option} {name}")
        return
    corpus = load_corpus(
        name, corpora_dir=corpora_dir, encoding=encoding, progress=not output.quiet
    )
    for notice in corpus.notices:
        output.note(notice)
    for warning in corpus.warnings:
        output.warn(warning)
    train, valid, test = corpus.split_sizes
    content |= {
        "name": corpus.name,
        "path": corpus.source,
        "sha256": corpus.sha256,
        "cleaning": corpus.cleaning,
        "characters": corpus.characters,
        "vocabulary": len(corpus.vocabulary),
        "split": {"train": train, "valid": valid, "test": test},
    }
    repeated = repeats(corpus.split("train"), corpus.ids[train:])
    output.json(content | repeated.as_json())
    _tell(output, content | {"files": files})
    if words := repeats_words(repeated, "held-out text"):
        output.text(words)
    output.text("")
    output.text(corpus.text("train", 300).rstrip() + " ...")


def _tell(output: Output, content: dict[str, Any]) -> None:
    """Print one line for each fact that is known."""
    for key, value in content.items():
        if value:
            shown = ", ".join(f"{k} {v:,}" for k, v in value.items()) if key == "split" else value
            shown = ", ".join(map(str, shown)) if isinstance(shown, tuple) else shown
            output.text(f"{key:<12} {shown:,}" if isinstance(shown, int) else f"{key:<12} {shown}")


@app.command()
@takes_output
def fetch(name: Name, corpora_dir: CorporaDir = None, *, output: Output) -> None:
    """Download a corpus, unless it is on this machine already."""
    from charlm.corpus import catalogue, fetch

    entry = catalogue().get(name)
    if entry is None:
        check_is_no_address(name)
        raise UsageError(f"no corpus is called {name!r}", did_you_mean(name, catalogue()))
    path = fetch(entry, corpora_dir, progress=not output.quiet)
    output.json({"name": name, "path": str(path)})
    output.text(str(path))


@app.command()
@takes_output
def add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A text file of your own.")],
    encoding: Encoding = None,
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Copy your own text into the corpora folder, and so give it a name."""
    from charlm.corpus import add_text

    if not file:  # Path("") is the working folder
        raise UsageError("FILE is empty", "name a text file of your own")
    check_is_no_address(file)
    warnings: list[str] = []
    path = add_text(Path(file), corpora_dir, encoding=encoding, warnings=warnings)
    for warning in warnings:
        output.warn(warning)
    output.json({"name": path.stem, "path": str(path)})
    output.text(f"{path}\nnext: charlm train --corpus {path.stem}")
