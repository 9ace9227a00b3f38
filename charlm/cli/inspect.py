"""``charlm inspect``: what a trained model is like inside."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.interrupts import polled
from charlm.cli.options import AsJson, CorporaDir, Quiet, Version, open_run
from charlm.cli.output import Output
from charlm.cli.pictures import picture_kind, write_picture
from charlm.errors import CorpusError, RunError, UsageError

if TYPE_CHECKING:
    from charlm.evaluation.memory import Memory
    from charlm.runs import Run

SHOWN_DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # and the furthest
BAR = 12  # decades that the bars have room for, a character each


def inspect(
    memory: Annotated[
        bool, typer.Option("--memory", help="How far back a model remembers what it has read.")
    ] = False,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="A run folder; several times: side by side. [default: the newest run]",
        ),
    ] = None,
    distances: Annotated[
        int, typer.Option(metavar="N", min=1, max=2000, help="Characters to go back.")
    ] = 100,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|valid|test",
            help="The part of the run's corpus to read. [default: valid, or train where nothing "
            "is held out]",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw a picture too: a .png, .svg or .pdf."),
    ] = None,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Look inside trained models.

    --memory: the norm of the derivative of the hidden state by what was read k characters before,
    d h_t / d x_(t-k): the median over 16 positions in the text, as a part of the norm at k = 0.
    A bar of # is a power of ten for each, down to 1e-12.
    """
    if not memory:
        raise UsageError(
            "nothing to inspect was named", "charlm inspect --memory: how far back it remembers"
        )
    kind = picture_kind(plot) if plot else ""
    from charlm.evaluation.memory import THRESHOLD

    output = Output(as_json=as_json, quiet=quiet)
    opened = _open(run, output)
    found = {
        label: _measure(each, label, distances, split, corpora_dir, output)
        for label, each in opened.items()
    }
    output.json(
        {
            "threshold": THRESHOLD,
            "runs": [
                {
                    "run": str(opened[label].folder),
                    **dataclasses.asdict(opened[label].config.model),
                    "split": name,
                    "positions": measured.positions,
                    "distances": measured.distances,
                    "forgotten_from": measured.forgotten,
                    "norms": {
                        "lower": measured.lower,
                        "median": measured.median,
                        "upper": measured.upper,
                    },
                    "relative": _relative(measured, measured.median),
                }
                for label, (measured, name) in found.items()
            ],
        }
    )
    memories = {label: measured for label, (measured, _) in found.items()}
    output.text("norm of d h_t / d x_(t-k): median over positions t, as a part of that at k = 0")
    output.table(("k", *memories), _rows(list(memories.values())))
    if plot:
        names = [_titled(run, label) for label, run in opened.items()]
        _draw(dict(zip(names, memories.values(), strict=True)), plot, kind)
        output.note(f"picture: {plot}")


def _open(folders: list[Path] | None, output: Output) -> dict[str, Run]:
    """The runs by a name each: the folder's own, or its whole path where two have the same.

    Raises:
        RunError: there is none, or one is damaged.
    """
    from charlm.runs import Run

    if not folders:
        run = open_run(Run, None, output)
        return {run.folder.name: run}
    names = [folder.resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): open_run(Run, folder, output)
        for name, folder in zip(names, folders, strict=True)
    }


def _measure(
    run: Run,
    label: str,
    distances: int,
    split: str | None,
    corpora_dir: Path | None,
    output: Output,
) -> tuple[Memory, str]:
    """What a run remembers, and of which split.

    Raises:
        CorpusError: its text is not to be had, or too short.
        RunError: it has no weights, or they are such that there is nothing to measure.
        Interrupted: a signal has come.
    """
    import torch

    from charlm.evaluation.memory import memory

    corpus = run.load_corpus(corpora_dir)
    name = split or ("valid" if len(corpus.split("valid")) >= 3 else "train")
    ids = corpus.split(name)
    if len(ids) < 3:
        raise CorpusError(
            f"the {name} split of {corpus.name} has {len(ids)} characters; this takes three at "
            "least",
            "take another --split",
        )
    model = run.load_model()
    output.note(f"{_titled(run, label)}, on the {name} split of {corpus.name}")
    with polled() as stop:
        tokens = torch.from_numpy(ids.copy())
        found = memory(model, tokens, distances=distances, should_stop=stop)
    if found.distances < distances:
        output.warn(
            f"the {name} split of {corpus.name} has {len(ids)} characters: {found.distances} "
            f"distances, not {distances}"
        )
    if not (found.median[0] > 0 and found.norms.isfinite().all()):
        raise RunError(
            f"{run.folder}: the hidden state does not depend on what is read, or without bounds",
            "these weights have not been trained to an end that can be used",
        )
    return found, name


def _titled(run: Run, label: str) -> str:
    """A run's name, with its cell where that is not a part of it."""
    cell = run.config.model.cell
    return label if cell in label else f"{cell}, {label}"


def _relative(memory: Memory, norms: list[float]) -> list[float]:
    return [norm / memory.median[0] for norm in norms]


def _forgotten(memory: Memory) -> str:
    return f"beyond {memory.distances}" if memory.forgotten is None else str(memory.forgotten)


def _rows(memories: list[Memory]) -> Iterator[tuple[str, ...]]:
    """Of the table: some distances, the norm at k = 0, and the figure that sums them up."""
    from charlm.evaluation.memory import THRESHOLD

    furthest = max(memory.distances for memory in memories)
    relative = [_relative(memory, memory.median) for memory in memories]
    for k in sorted({*(k for k in SHOWN_DISTANCES if k < furthest), furthest}):
        yield (str(k), *(_cell(values[k]) if k < len(values) else "" for values in relative))
    blank = " " * (BAR + 1)
    yield ("norm at 0", *(f"{memory.median[0]:.3g}{blank}" for memory in memories))
    yield (
        f"below {THRESHOLD:.0%} from",
        *(f"{_forgotten(memory)}{blank}" for memory in memories),
    )


def _cell(part: float) -> str:
    """A number and its bar: a character for each power of ten above 10^-BAR."""
    decades = round(BAR + math.log10(part)) if part > 0 else 0
    return f"{part:.2g} {'#' * min(max(decades, 0), BAR):{BAR}}"


def _draw(memories: dict[str, Memory], plot: Path, kind: str) -> None:
    """Write the picture.

    Raises:
        CharlmError: it cannot be written.
    """
    from charlm.evaluation.memory import THRESHOLD
    from charlm.report.plots import Curve, memory_picture

    curves = [
        Curve(
            name,
            f"below {THRESHOLD:.0%} from {_forgotten(memory)}",
            *(_relative(memory, norms) for norms in (memory.lower, memory.median, memory.upper)),
        )
        for name, memory in memories.items()
    ]
    write_picture(plot, memory_picture(curves, THRESHOLD, kind))
