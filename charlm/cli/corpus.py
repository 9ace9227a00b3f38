"""``charlm corpus``: list, describe, download and add corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli.options import AsJson, CorporaDir, Quiet, Version
from charlm.cli.output import Output
from charlm.errors import UsageError, did_you_mean

app = typer.Typer(
    help="List, describe, download and add corpora.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from charlm corpus list.")]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="Encoding of your own text. [default: UTF-8]")
]


@app.command("list")
def list_(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """List the corpora that charlm knows by name."""
    from charlm.corpus import LANGUAGE_MODEL, catalogue, corpus_names, locate

    output = Output(as_json=as_json, quiet=quiet)
    rows = []
    for entry in catalogue().values():
        where = "comes with charlm" if entry.bundled else "on this machine"
        if locate(entry, corpora_dir) is None:
            where = "downloaded when first used"
        rows.append((entry.name, entry.task, where, entry.description))
    rows += [(name, LANGUAGE_MODEL, "added", "your own text") for name in corpus_names(corpora_dir)]
    names = ("name", "task", "where", "about")
    output.json({"corpora": [dict(zip(names, row, strict=True)) for row in rows]})
    for name, task, where, about in rows:
        output.text(f"{name:<16} {task:<15} {where:<27} {about}")


@app.command()
def show(
    name: Name,
    encoding: Encoding = None,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Describe a corpus: source, licence, cleaning, splits, and its first lines."""
    import dataclasses

    from charlm.corpus import LANGUAGE_MODEL, catalogue, load_corpus, locate

    output = Output(as_json=as_json, quiet=quiet)
    entry = catalogue().get(name)
    content: dict[str, Any] = {} if entry is None else dataclasses.asdict(entry)
    if entry is not None and entry.task != LANGUAGE_MODEL:
        path = locate(entry, corpora_dir)
        content |= {"path": None if path is None else str(path)}
        output.json(content)
        _tell(output, content | {"files": ", ".join(file.path for file in entry.files)})
        output.text(f"\nnext: {entry.command}")
        return
    corpus = load_corpus(name, corpora_dir=corpora_dir, encoding=encoding, progress=not quiet)
    for notice in corpus.notices:
        output.note(notice)
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
    output.json(content)
    _tell(output, content)
    output.text("")
    output.text(corpus.text("train")[:300].rstrip() + " ...")


def _tell(output: Output, content: dict[str, Any]) -> None:
    """Print a line for each known fact."""
    for key, value in content.items():
        if value:
            shown = ", ".join(f"{k} {v:,}" for k, v in value.items()) if key == "split" else value
            output.text(f"{key:<12} {shown:,}" if isinstance(shown, int) else f"{key:<12} {shown}")


@app.command()
def fetch(
    name: Name,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Download a corpus if it is not on this machine, and check its hashes."""
    from charlm.corpus import catalogue, fetch

    entry = catalogue().get(name)
    if entry is None:
        raise UsageError(f"no corpus is called {name!r}", did_you_mean(name, catalogue()))
    output = Output(as_json=as_json, quiet=quiet)
    path = fetch(entry, corpora_dir, progress=not quiet)
    output.json({"name": name, "path": str(path)})
    output.text(str(path))


@app.command()
def add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Your own text.")],
    encoding: Encoding = None,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Copy your own text into the corpora folder, to use it by name."""
    from charlm.corpus import add_text

    output = Output(as_json=as_json, quiet=quiet)
    if not file:  # Path("") is the working folder
        raise UsageError("FILE is empty", "name your own text")
    path = add_text(Path(file), corpora_dir, encoding=encoding)
    output.json({"name": path.stem, "path": str(path)})
    output.text(f"{path}\nnext: charlm train --corpus {path.stem}")
