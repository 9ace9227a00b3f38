"""``charlm inspect --surprisal``: the characters that surprise a model."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.marked import Piece, marked
from charlm.cli.output import Output, has_colours
from charlm.cli.pictures import write_page
from charlm.cli.text_source import Source
from charlm.errors import CorpusError, shown

if TYPE_CHECKING:
    from charlm.corpus import Vocabulary
    from charlm.runs import Run
    from charlm.tasks.language_model.corpus import Corpus
    from charlm.tasks.language_model.surprisal import Surprisal

# From how many bits on a character has which of rich's styles: few colours, which differ in
# lightness too, and dark letters on all of them.
LEVELS = (
    *((0, ""), (1, "black on color(230)"), (2, "black on color(222)")),
    *((4, "black on color(215)"), (8, "black on color(203)")),
)
MARKED = 4  # bits from which a character is in brackets where there are no colours
LENGTH = 1000  # characters that are read
PLACES = 10  # that are listed
CONTEXT = 24  # characters before a place that are shown


def show_surprisal(run: Run, source: Source, html: Path | None, output: Output) -> None:
    """Measure and print the surprisal of a text, or of a split of the run's corpus.

    Raises:
        CorpusError: there are fewer than two characters.
    """
    import numpy as np

    from charlm.tasks.language_model.surprisal import count_ngrams, surprisal

    corpus: Corpus | None = None
    try:
        corpus = run.load_corpus(source.corpora_dir)
    except CorpusError as error:
        if source.text is None:
            raise
        output.warn(f"no n-gram, because {error.message}")
    ids, characters, split, where = source.read(run, LENGTH, corpus)
    if len(ids) < 2:
        raise CorpusError(f"{where} has one character; surprisal needs at least two")
    ngram = None
    if corpus is not None and split != "train":
        ngram = count_ngrams(corpus.split("train"), run.vocabulary)
    with polled() as stop:
        found = surprisal(
            run.load_model(), run.vocabulary, np.asarray(ids), characters, ngram, should_stop=stop
        )
    content = show(found, run.vocabulary, where, output)
    output.json({"run": str(run.folder), "split": split, **content})
    if html:
        from charlm.pages import page

        made = page(
            "surprisal.html",
            title=f"Surprisal of {where}",
            data={"run": run.folder.name, "where": where, **content},
            scripts=["coloured.js", "surprisal.js"],
        )
        write_page(html, made, output)


def show(found: Surprisal, vocabulary: Vocabulary, where: str, output: Output) -> dict[str, Any]:
    """Print a text with its surprisal, and its most surprising places; returns the JSON."""
    import numpy as np

    bits, ngram = found.bits, found.ngram
    colours = has_colours(sys.stdout)
    words = f"{where}: {np.nanmean(bits):.3f} bits per character"
    if ngram is not None:
        words += f", the n-gram {np.nanmean(ngram):.3f}"
    output.text(words)
    output.coloured([*_legend(colours), ("\n\n", ""), *_marked(found, colours), ("\n\n", "")])
    output.text("the most surprising characters")
    output.table(*_places(found, found.most(bits, PLACES), vocabulary), left=2)
    if ngram is not None:
        for title, gains in (
            ("where the model saves most against the n-gram", ngram - bits),
            ("where the n-gram would save most", bits - ngram),
        ):
            places = [place for place in found.most(gains, PLACES // 2) if gains[place] > 0]
            if places:
                output.text(f"\n{title}")
                output.table(*_places(found, places, vocabulary), left=2)
    return {
        "text": found.text,
        "bits_per_char": float(np.nanmean(bits)),
        "ngram_bits_per_char": None if ngram is None else float(np.nanmean(ngram)),
        "bits": [None, *bits[1:].tolist()],
        "ngram_bits": None if ngram is None else [None, *ngram[1:].tolist()],
        "expected": [None, *(_expected(found, place, vocabulary) for place in range(1, len(bits)))],
    }


def _legend(colours: bool) -> list[Piece]:
    if not colours:
        return [(f"[in brackets]: {MARKED} bits and more", "")]
    pairs = itertools.pairwise([*LEVELS, (None, "")])
    names = [
        (f" {least}-{most} " if most is not None else f" {least} and more ", style)
        for (least, style), (most, _) in pairs
    ]
    return [("bits:", ""), *names]


def _marked(found: Surprisal, colours: bool) -> Iterator[Piece]:
    """The text with colours, or brackets around what is surprising."""
    import numpy as np

    bits = np.nan_to_num(found.bits)
    if not colours:
        return marked(found.text, (bits >= MARKED).tolist(), None)
    levels = np.searchsorted([least for least, _ in LEVELS], bits, side="right") - 1
    return marked(found.text, levels.tolist(), [style for _, style in LEVELS])


def _places(
    found: Surprisal, places: list[int], vocabulary: Vocabulary
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of places."""
    header = ["before", "character", "bits", *(["n-gram"] if found.ngram is not None else [])]
    rows = []
    for place in places:
        before = found.text[max(0, place - CONTEXT) : place]
        expected = _expected(found, place, vocabulary)[:3]
        row = [shown(before), shown(found.text[place]), f"{found.bits[place]:.1f}"]
        row += [f"{found.ngram[place]:.1f}"] if found.ngram is not None else []
        rows.append([*row, ", ".join(f"{shown(each)} {share:.0%}" for each, share in expected)])
    return [*header, "expected"], rows


def _expected(found: Surprisal, place: int, vocabulary: Vocabulary) -> list[tuple[str, float]]:
    """The most likely characters of a place with their probabilities."""
    pairs = zip(found.likely[place].tolist(), found.probabilities[place].tolist(), strict=True)
    return [(vocabulary.decode([token]), share) for token, share in pairs if not math.isnan(share)]
