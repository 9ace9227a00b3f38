"""``charlm generate`` with a run on lines: whole lines, and which of them are new."""

from __future__ import annotations

import itertools
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.cli.interrupts import StopFlag, polled
from charlm.cli.options import compared_corpus
from charlm.cli.writer import Writer
from charlm.corpus import SPLITS
from charlm.errors import CorpusError, RunError, UsageError, counted

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.tasks.language_model.decoding import Decoding

TRIES = 50  # lines that --new-only tries at most for each new line that is wanted
FEWEST_TRIES = 1000


class Wanted(NamedTuple):
    """The lines that a user wants."""

    prefix: str
    lines: int
    length: int  # the largest number of characters after the prefix
    new_only: bool  # leave out lines of the run's text, and repeated ones


def check_options(run: Run, *, new_only: bool, others: dict[str, bool]) -> None:
    """Raise a UsageError for --new-only without lines, or for one of the ``others`` with lines."""
    if new_only and not run.config.corpus.lines:
        raise UsageError(
            f"--new-only needs a run trained with --lines, and {run.folder} is not one",
            "leave it out",
        )
    for option, given in others.items():
        if given and run.config.corpus.lines:
            raise UsageError(
                f"{option} is for running texts, and {run.folder} writes whole lines",
                "leave it out",
            )


def lines_of_text(run: Run, corpora_dir: Path | None) -> Container[str]:
    """The lines of the run's text, the held-out ones too.

    Raises:
        CorpusError: the text has moved or changed.
    """
    from charlm.tasks.language_model.lines import KnownLines

    corpus = compared_corpus(run, corpora_dir, "--new-only")
    return KnownLines(corpus.line_hashes(*SPLITS))


def write_lines(
    writer: Writer, wanted: Wanted, decoding: Decoding, seed: int | None, corpora_dir: Path | None
) -> tuple[dict[str, Any], StopFlag]:
    """Print lines, until there are enough or a signal arrives.

    Returns:
        The result for JSON, and the signal's flag. ``new`` says of each line whether the run's text
        lacks it; it is None if the text cannot be read.

    Raises:
        CorpusError: new lines are wanted, but the run's text has moved or changed.
        RunError: no line is new.
    """
    from charlm.tasks.language_model.decoding import generate_lines
    from charlm.tasks.language_model.prefix import text_start

    run, output = writer.run, writer.output
    start = text_start(run, writer.model, wanted.prefix)
    for notice in start.notices:
        output.warn(notice)
    known: Container[str] | None = None
    if wanted.new_only:
        known = lines_of_text(run, corpora_dir)
    elif output.as_json:
        with suppress(CorpusError):
            known = lines_of_text(run, corpora_dir)
    seed = writer.seed(decoding, seed)
    stream = generate_lines(
        writer.model,
        start.ids,
        length=wanted.length,
        decoding=decoding,
        seed=seed or 0,
        mixture=writer.mixture,
    )
    most = max(FEWEST_TRIES, TRIES * wanted.lines) if wanted.new_only else wanted.lines
    lines: list[str] = []
    seen, cut = set[str](), 0
    with polled() as flag:
        for ids, ended in itertools.islice(stream, most):
            line = start.text + run.vocabulary.decode(ids)
            if not (wanted.new_only and (line in seen or line in (known or ()))):
                seen.add(line)
                lines.append(line)
                cut += not ended
                writer.print(f"{line}\n")
            if len(lines) == wanted.lines or flag():
                break
    if not flag():
        if not lines:
            raise RunError(
                f"none of {most:,} lines is new: all are in the run's text",
                "leave out --new-only, or raise --temperature",
            )
        if len(lines) < wanted.lines:
            output.warn(f"found {counted(len(lines), 'new line')} among {most:,}")
        if cut:
            longest = counted(wanted.length, "character")
            output.warn(f"{counted(cut, 'line')} had no end after {longest}: cut")
    return {
        "run": str(run.folder),
        "prefix": wanted.prefix,
        "text": lines[0] if lines else start.text,
        "seed": seed,
        "samples": lines,
        "new": None if known is None else [line not in known for line in lines],
    }, flag
