"""``charlm inspect --attribution``: the earlier characters that one prediction depends on."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.marked import marked
from charlm.cli.output import Output, has_colours
from charlm.cli.pictures import write_page
from charlm.cli.text_source import Source
from charlm.cli.units import STEPS, STYLES
from charlm.errors import CorpusError, UsageError, counted, shown

if TYPE_CHECKING:
    from pathlib import Path

    from charlm.runs import Run

PLACE = 1000  # of the predicted character, counted from 1
LISTED = 10  # characters
CONTEXT = 16  # characters before a listed one that are shown
ROUGH = 0.1  # bits by which the sum may be wrong without a warning


def show_attribution(
    run: Run, source: Source, prefix: str | None, html: Path | None, output: Output
) -> None:
    """Print what each earlier character adds to the log probability of the next one.

    Args:
        source: ``length`` is the place of the predicted character in its text.
        prefix: the text before the most likely next character, in place of the source.

    Raises:
        CorpusError: the text has fewer than two characters.
        UsageError: the text has no such place.
    """
    import torch

    from charlm.tasks.language_model.attribution import LENGTH, attribution

    ids, text, target, about = _read(run, source, prefix, output)
    ids, text = ids[-LENGTH:], text[-LENGTH:]
    model = run.load_model()
    with polled() as stop:
        found = attribution(model, torch.tensor(ids), target, should_stop=stop)
    character = run.vocabulary.decode([found.target])
    rise = found.with_text - found.without
    if not abs(found.missing) <= ROUGH:
        output.warn(f"the bits are approximate: their sum is off by {abs(found.missing):.2f}")
    where = about.pop("words")
    output.text(f"{where}: {shown(character)}")
    output.text(
        f"probability {_share(found.with_text)} after {counted(len(ids), 'character')}; "
        f"{_share(found.without)} after {counted(len(ids), 'average character')}"
    )
    levels = _levels(found.bits)
    _draw(text, levels, character, output)
    order = sorted(range(len(ids)), key=lambda place: -abs(found.bits[place]))
    listed, others = order[:LISTED], order[LISTED:]
    rows = [
        (
            *(str(len(ids) - place), shown(text[max(0, place - CONTEXT) : place])),
            *(shown(text[place]), f"{found.bits[place]:+.3f}"),
        )
        for place in listed
    ]
    if others:
        rest = math.fsum(found.bits[place] for place in others)
        rows.append((f"{counted(len(others), 'other')}", "", "", f"{rest:+.3f}"))
    together = rise - found.missing
    rows.append(("together", "", "", f"{together:+.3f}"))
    output.text("what a character adds to log2 of the probability, in bits")
    output.table(("characters back", "before", "character", "bits"), rows, left=3)
    output.text(
        f"\nlog2 of the probability changes by {rise:+.3f}; the sum differs from this by "
        f"{abs(found.missing):.3f}"
    )
    content = {
        **{"run": str(run.folder), **about, "text": text, "character": character},
        "probability": 2**found.with_text,
        "probability_without_text": 2**found.without,
        "bits": found.bits,
        "together": together,
        "difference": rise,
        "points": found.points,
    }
    output.json(content)
    if html:
        from charlm.pages import page

        made = page(
            "attribution.html",
            title=f"What predicts {shown(character)}",
            data={**content, "run": run.folder.name, "where": where, "levels": levels},
            scripts=["coloured.js", "attribution.js"],
        )
        write_page(html, made, output)


def _read(
    run: Run, source: Source, prefix: str | None, output: Output
) -> tuple[list[int], str, int | None, dict[str, Any]]:
    """The ids and characters before the prediction, its id, and facts for JSON and for people."""
    if prefix is not None:
        from charlm.tasks.language_model.prefix import prepare_prefix

        prepared = prepare_prefix(prefix, run.corpus["cleaning"], run.vocabulary)
        for notice in prepared.notices:
            output.warn(notice)
        words = "the most likely character after the prefix"
        return [*prepared.ids], prepared.text, None, {"words": words, "split": None, "place": None}
    ids, text, split, where = source.read(run, PLACE)
    if len(ids) < 2:
        raise CorpusError(f"{where} has one character; a prediction needs at least two")
    if source.length is not None and len(ids) < source.length:
        raise UsageError(
            f"{where} has no character {source.length:,}", f"the last one is --place {len(ids)}"
        )
    about = {"words": f"{where}, character {len(ids):,}", "split": split, "place": len(ids)}
    *before, target = ids.tolist()
    return before, text[:-1], target, about


def _share(log: float) -> str:
    share = 2**log
    return f"{share:.1%}" if share >= 0.001 else f"{share:.1g}"


def _levels(bits: list[float]) -> list[int]:
    """The square roots of the bits in steps; that of the largest is 3, or -3."""
    largest = max(map(abs, bits)) or 1.0
    return [round(STEPS * math.copysign(math.sqrt(abs(each) / largest), each)) for each in bits]


def _draw(text: str, levels: list[int], character: str, output: Output) -> None:
    """Print the coloured text, and the predicted character."""
    if has_colours(sys.stdout):
        legend = [("lowers ", ""), *((" ", each) for each in STYLES), (" raises it", "")]
        pieces = marked(text, [STEPS + level for level in levels], STYLES)
    else:
        legend = [("[in brackets]: raises it, by a quarter of the largest or more", "")]
        pieces = marked(text, [int(level >= 2) for level in levels], None)
    output.coloured([*legend, ("\n\n", ""), *pieces, (f"\n\u2192 {shown(character)}\n\n", "")])
