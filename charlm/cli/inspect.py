"""``charlm inspect``: measurements of trained language models."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.attribution import show_attribution
from charlm.cli.files import check_file, check_not_read
from charlm.cli.interrupts import polled
from charlm.cli.options import RUN, CorporaDir, Split, open_run, takes_output
from charlm.cli.output import Output
from charlm.cli.pictures import Html, Plot, picture_kind, write_picture
from charlm.cli.surprisal import show_surprisal
from charlm.cli.text_source import SHORTEST, Source
from charlm.cli.units import show_units
from charlm.corpus.splits import chosen_split
from charlm.errors import RunError, UsageError
from charlm.tasks import LANGUAGE_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from charlm.runs import Run
    from charlm.tasks.language_model.memory import Memory

SHOWN_DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # and the furthest
LARGEST = 1000.0  # value of --clamp
MOST = 100_000  # characters of --surprisal and --units
USES = {
    **{"text": ("surprisal", "units", "attribution"), "length": ("surprisal", "units")},
    **{
        "html": ("surprisal", "units", "attribution"),
        "distances": ("memory",),
        "plot": ("memory",),
    },
    **{"prefix": ("attribution",), "place": ("attribution",)},
    **{"unit": ("units",), "clamp": ("units",), "run": ("memory", "context")},
}
"""The options that not every measurement uses, and those that do; several runs as ``run``."""
BAR = 12  # the longest bar: one character for each power of ten
BLANK = " " * (BAR + 1)  # in place of a bar


@takes_output
def inspect(
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure how far back in the text a model remembers.")
    ] = False,
    context: Annotated[
        bool,
        typer.Option(
            "--context", help="Measure how many characters before the next one its prediction uses."
        ),
    ] = False,
    surprisal: Annotated[
        bool,
        typer.Option(
            "--surprisal",
            help="Show which characters of a text surprise the model, and what it had expected.",
        ),
    ] = False,
    units: Annotated[
        bool,
        typer.Option(
            "--units",
            help="Find units that track something in the text, and measure whether it matters.",
        ),
    ] = False,
    attribution: Annotated[
        bool,
        typer.Option(
            "--attribution",
            help="Show which earlier characters one prediction depends on.",
        ),
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With --attribution: the most likely character after this text, instead of one in "
            "a text.",
        ),
    ] = None,
    place: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=MOST,
            help="With --attribution: the Nth character of the text. [default: 1000, or the last]",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="N|LAYER.N|LAYER.PART.N",
            help="With --units: show this unit instead, such as 17, or 2.cell.17.",
        ),
    ] = None,
    clamp: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE", help="With --unit: hold the unit at this value. [default: its mean]"
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With --surprisal, --units or --attribution: this text instead of a split of the "
            "run's corpus; - reads standard input.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The encoding of --text. [default: that of the run's corpus]"
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=MOST,
            help="With --surprisal or --units: the first N characters. [default: 1000, or 20000]",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help=f"The run: {RUN}; repeat it to compare runs. [default: the newest run]",
        ),
    ] = None,
    distances: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=2000,
            help="With --memory: the largest distance k, in characters. [default: 100]",
        ),
    ] = None,
    split: Split = None,
    plot: Plot = None,
    html: Html = None,
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Look inside trained language models.

    --memory measures how much the hidden state depends on the input k characters earlier: the norm
    of the derivative d h_t / d x_(t-k). The table shows the median over 16 positions of the text,
    relative to the norm at k = 0. A bar has one # for each power of ten above 1e-12.

    --context measures the bits of the next character if the model reads only the last k characters
    before it, and if those before the last k are shuffled.

    --surprisal colours a text by the bits of each character, and lists the most surprising ones.
    On the page of --html, pointing at a character shows what the model had expected.

    --units names the units that show a feature of the text, such as the place in the line, and
    measures what the prediction loses when such a unit is held at its mean. docs/units.md says how.

    --attribution shows what each of the 100 characters before a prediction adds to the logarithm of
    its probability, in bits, by integrated gradients. docs/memory.md says how. --html draws it.
    """
    asked = {"memory": memory, "context": context, "surprisal": surprisal, "units": units}
    asked["attribution"] = attribution
    if sum(asked.values()) != 1:
        raise UsageError(
            "charlm inspect measures one thing at a time: give --memory, --context, --surprisal, "
            "--units or --attribution",
            "charlm inspect --memory measures how far back a model remembers",
        )
    (measurement,) = (name for name, wanted in asked.items() if wanted)
    several = run if run and len(run) > 1 else None
    given: dict[str, Any] = {"text": text, "length": length, "distances": distances}
    given |= {"plot": plot, "html": html}
    given |= {"prefix": prefix, "place": place, "unit": unit, "clamp": clamp, "run": several}
    _check_options(measurement, given)
    if clamp is not None and unit is None:
        raise UsageError("--clamp holds one unit at a value", "name it with --unit")
    if clamp is not None and not abs(clamp) <= LARGEST:
        raise UsageError(f"--clamp is {clamp:g}; it must be from -{LARGEST:g} to {LARGEST:g}")
    if text is not None and split is not None:
        raise UsageError("--text and --split are both given", "give only one of them")
    if encoding is not None and text is None:
        raise UsageError("--encoding is the encoding of --text", "give both")
    kind = picture_kind(plot) if plot else ""
    if html:
        check_file("--html", html, ".html")
        check_not_read("--html", html, [text])
    if prefix is not None and (text, split, place) != (None, None, None):
        raise UsageError("--prefix is given with another text", "give only one of them")
    if surprisal or units or attribution:
        opened = open_run(LANGUAGE_MODEL, run[0] if run else None, output)
        _check_running_text(opened, f"--{measurement}")
        source = Source(text, split, length, corpora_dir, encoding)
        if attribution:
            source = dataclasses.replace(source, length=place)
            show_attribution(opened, source, prefix, html, output)
        elif units:
            show_units(opened, source, unit, clamp, html, output)
        else:
            show_surprisal(opened, source, html, output)
        return
    if context:
        _show_context(_open(run, output), split, corpora_dir, output)
        return
    distances = distances or 100
    from charlm.tasks.language_model.memory import THRESHOLD

    runs = _open(run, output)
    splits: dict[str, str] = {}
    memories: dict[str, Memory] = {}
    for label, each in runs.items():
        tokens, splits[label], where = _read_split(each, "--memory", split, corpora_dir)
        memories[label] = _measure(each, label, tokens, where, distances, output)
    contents = [_content(runs[label], splits[label], memories[label]) for label in runs]
    output.json({"threshold": THRESHOLD, "runs": contents})
    output.text("norm of d h_t / d x_(t-k) relative to k = 0, median over the positions t")
    rows = [*_rows(list(memories.values())), ("split", *(each + BLANK for each in splits.values()))]
    if len(memories) > 1:
        output.numbered([*memories])
        output.table(("k", *(f"{n}{BLANK}" for n in range(1, len(memories) + 1))), rows)
    else:
        output.table(("k", *memories), rows)
    if plot:
        from charlm.report.plots import Curve, memory_picture

        curves = [
            Curve(
                _title(runs[label], label),
                f"below {THRESHOLD:.0%} from {_forgotten(found)}",
                *(_relative(found, norms) for norms in (found.lower, found.median, found.upper)),
            )
            for label, found in memories.items()
        ]
        write_picture(plot, memory_picture(curves, THRESHOLD, kind), output)


def _check_options(measurement: str, given: dict[str, Any]) -> None:
    """Refuse an option that the measurement does not use, and text and split together."""
    for option, value in given.items():
        if value is not None and measurement not in USES[option]:
            several = "more than one --run" if option == "run" else f"--{option}"
            uses = " or ".join(f"--{each}" for each in USES[option])
            uses = uses.replace(" or ", ", ", len(USES[option]) - 2)
            raise UsageError(f"--{measurement} does not use {several}", f"it is for {uses}")


def _check_running_text(run: Run, option: str) -> None:
    if run.config.corpus.lines:
        raise UsageError(
            f"{run.folder} was trained with --lines, and {option} needs a running text",
            "name a run without --lines",
        )


def _read_split(
    run: Run, option: str, split: str | None, corpora_dir: Path | None
) -> tuple[Any, str, str]:
    """The ids of a split of the run's running text, its name, and a name for people."""
    _check_running_text(run, option)
    corpus = run.load_corpus(corpora_dir)
    chosen = chosen_split(split, corpus.split_sizes, SHORTEST)
    return corpus.split(chosen), chosen, f"the {chosen} split of {corpus.name}"


def _show_context(
    runs: dict[str, Run], split: str | None, corpora_dir: Path | None, output: Output
) -> None:
    """Measure and print how much of the text before a character its prediction uses."""
    from charlm.tasks.language_model.batches import id_tensor
    from charlm.tasks.language_model.context import ENOUGH, context

    contents = []
    for label, run in runs.items():
        ids, chosen, where = _read_split(run, "--context", split, corpora_dir)
        with polled() as stop:
            found = context(run.load_model(), id_tensor(ids), should_stop=stop)
        contents.append(
            {
                "run": str(run.folder),
                "split": chosen,
                **dataclasses.asdict(found),
                "enough": found.enough,
            }
        )
        if len(contents) > 1:
            output.text("")
        output.text(f"{_title(run, label)}: bits of the next character, {where}")
        rows = [
            (str(k), f"{cut:.3f}", f"{shuffled:.3f}")
            for k, cut, shuffled in zip(found.distances, found.cut, found.shuffled, strict=True)
        ]
        whole = f"{found.whole:.3f}"
        rows.append((f"{found.length} (the whole)", whole, whole))
        output.table(("last k characters", "nothing before", "the rest shuffled"), rows)
        enough = f"{found.enough} characters" if found.enough else "more than these"
        output.text(f"within {ENOUGH - 1:.0%} of the whole with the last {enough}")
    output.json({"runs": contents})


def _open(given: list[str] | None, output: Output) -> dict[str, Run]:
    """The runs by label: the name of the folder, or its path if two folders have the same name."""
    from charlm.runs import run_path

    if not given:
        run = open_run(LANGUAGE_MODEL, None, output)
        return {run.folder.name: run}
    folders = [run_path(run) for run in given]
    names = [folder.resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): open_run(LANGUAGE_MODEL, folder, output)
        for name, folder in zip(names, folders, strict=True)
    }


def _measure(run: Run, label: str, ids: Any, where: str, distances: int, output: Output) -> Memory:
    """The memory of the run's model; a RunError if the derivatives are zero or not finite."""
    from charlm.tasks.language_model.batches import id_tensor
    from charlm.tasks.language_model.memory import memory

    model = run.load_model()
    output.note(f"{_title(run, label)}, on {where}")
    with polled() as stop:
        found = memory(model, id_tensor(ids), distances=distances, should_stop=stop)
    if found.distances < distances:
        output.warn(
            f"{where} has {len(ids)} characters, enough for {found.distances} distances, "
            f"not {distances}"
        )
    if not (found.median[0] > 0 and found.norms.isfinite().all()):
        raise RunError(
            f"{run.folder}: the derivatives of the hidden state are zero or not finite",
            "the weights are unusable: train a new model",
        )
    return found


def _title(run: Run, label: str) -> str:
    """The label of a run, after the name of its cell if the label does not have it."""
    cell = run.config.model.cell
    return label if cell in label else f"{cell}, {label}"


def _content(run: Run, split: str, memory: Memory) -> dict[str, Any]:
    """The result for one run in JSON."""
    return {
        "run": str(run.folder),
        **dataclasses.asdict(run.config.model),
        "split": split,
        "positions": memory.positions,
        "distances": memory.distances,
        "forgotten_from": memory.forgotten,
        "norms": {"lower": memory.lower, "median": memory.median, "upper": memory.upper},
        "relative": _relative(memory, memory.median),
    }


def _relative(memory: Memory, norms: list[float]) -> list[float]:
    return [norm / memory.median[0] for norm in norms]


def _forgotten(memory: Memory) -> str:
    return f"beyond {memory.distances}" if memory.forgotten is None else str(memory.forgotten)


def _rows(memories: list[Memory]) -> Iterator[tuple[str, ...]]:
    """Rows of the table: relative norms, the norm at k = 0, and the distance of forgetting."""
    from charlm.tasks.language_model.memory import THRESHOLD

    furthest = max(memory.distances for memory in memories)
    relative = [_relative(memory, memory.median) for memory in memories]
    for k in sorted({*(k for k in SHOWN_DISTANCES if k < furthest), furthest}):
        yield (str(k), *(_cell(values[k]) if k < len(values) else "" for values in relative))
    yield ("norm at 0", *(f"{memory.median[0]:.3g}{BLANK}" for memory in memories))
    yield (f"below {THRESHOLD:.0%} from", *(_forgotten(memory) + BLANK for memory in memories))


def _cell(norm: float) -> str:
    """A relative norm and its bar: one # for each power of ten above 10^-BAR."""
    decades = round(BAR + math.log10(norm)) if norm > 0 else 0
    return f"{norm:.2g} {'#' * min(max(decades, 0), BAR):{BAR}}"
