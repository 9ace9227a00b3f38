"""``charlm inspect --units``: units of a model that track something in a text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.interrupts import polled
from charlm.cli.marked import marked
from charlm.cli.output import Output, has_colours
from charlm.cli.pictures import write_page
from charlm.cli.text_source import Source
from charlm.errors import CorpusError, UsageError, counted, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.runs import Run
    from charlm.tasks.language_model.model import LanguageModel
    from charlm.tasks.language_model.recording import Recording, Unit
    from charlm.tasks.language_model.units import Tracked

SHORTEST = 2000  # characters: in fewer, features are too rare
LENGTH = 20_000  # characters that are read
LARGEST = 400_000_000  # values that are recorded at once, of 4 bytes each
STRETCH = 360  # characters of the text that is drawn
FEATURES = 6  # that are listed of a single unit
# Rich's styles for low to high values: few colours, which any colour vision tells apart.
STYLES = (
    *("black on color(75)", "black on color(117)", "black on color(195)", ""),
    *("black on color(223)", "black on color(215)", "black on color(208)"),
)
STEPS = len(STYLES) // 2  # of colour on each side


def show_units(
    run: Run,
    source: Source,
    unit: str | None,
    clamp: float | None,
    html: Path | None,
    output: Output,
) -> None:
    """Find and print the units that track something, or print what one unit does.

    Args:
        unit: the one; None: search.
        clamp: the value at which it is held; None: its mean.

    Raises:
        CorpusError: the text is too short.
        UsageError: there is no such unit, or the values do not fit in the memory.
    """
    from charlm.recurrent.states import state_tensors
    from charlm.tasks.language_model.batches import id_tensor

    ids, text, split, where = source.read(run, LENGTH)
    if len(ids) < SHORTEST:
        raise CorpusError(
            f"{where} has {counted(len(ids), 'character')}; --units needs at least {SHORTEST:,}",
            "give a longer text with --text, or another split with --split",
        )
    model = run.load_model()
    units = sum(each.shape[1] for each in state_tensors(model.stack.initial_state(1)))
    if units * len(ids) > LARGEST:
        raise UsageError(
            f"the values of {units:,} units at {len(ids):,} characters do not fit in memory",
            f"give --length {LARGEST // units} or less",
        )
    chosen = None if unit is None else _parsed(unit, model)
    output.note(f"reading {len(ids):,} characters of {where}")
    if chosen is None:
        found = _search(run, model, id_tensor(ids), text, where, output)
    else:
        found = _look(model, id_tensor(ids), text, chosen, clamp, where, output)
    about = {"run": str(run.folder), "split": split, "where": where}
    drawn = found.pop("drawn")
    output.json({**about, **found})
    if html:
        from charlm.pages import page

        made = page(
            "units.html",
            title="Units that track something" if chosen is None else f"Unit {chosen}",
            data={**about, **found, "drawn": drawn, "run": run.folder.name},
            scripts=["coloured.js", "units.js"],
        )
        write_page(html, made, output)


def _parsed(given: str, model: LanguageModel) -> Unit:
    """A unit from N, LAYER.N or LAYER.PART.N; without them the top layer and its first part."""
    from charlm.tasks.language_model.recording import Unit

    states = [each._asdict() for each in model.stack.initial_state(1)]
    *before, number = given[:100].split(".")  # Python refuses to read thousands of digits
    layer = before[0] if before else str(len(states))
    known = layer.isdecimal() and 1 <= int(layer) <= len(states) and len(before) < 3
    parts = states[int(layer) - 1] if known else states[-1]
    part = before[1] if len(before) == 2 else next(iter(parts))
    known = known and part in parts and number.isdecimal() and int(number) < parts[part].shape[1]
    if not known:
        raise UsageError(
            f"this model has no unit {shown(given)}",
            f"N, LAYER.N or LAYER.PART.N: layers 1 to {len(states)}, parts {' and '.join(parts)}, "
            f"N from 0 to {parts[next(iter(parts))].shape[1] - 1}",
        )
    return Unit(int(layer), part, int(number))


def _search(
    run: Run, model: LanguageModel, ids: Any, text: str, where: str, output: Output
) -> dict[str, Any]:
    from charlm.tasks.language_model.clamping import RANDOM
    from charlm.tasks.language_model.units import LEAST, find_units, untrained_model

    with polled() as stop:
        bare = untrained_model(run.config.model, len(run.vocabulary))
        bare = bare.to(model.head.weight.device)
        found = find_units(model, bare, ids, text, should_stop=stop)
    named, number = found.named, sum(each.shape[1] for each in found.recording.values.values())
    output.text(f"{where}, {len(found.text):,} characters: {number:,} units")
    if named:
        output.text("\nunits that track something")
        rows = [_row(each) for each in named]
        header = ("unit", "tracks", "knows", "untrained", "more units")
        output.table((*header, "there", "elsewhere", "random"), rows, left=2)
        output.blocks(
            [
                "knows: how much of the feature's entropy the value of the unit explains. "
                "untrained: the same for the best unit of a network with random weights. "
                f"more units: others that know {LEAST:.0%} and more.",
                "there, elsewhere: how many bits more the next character costs while the unit is "
                "held at its mean, where the text has the feature and where it does not. "
                f"random: the median of {RANDOM} random units, there.",
                _mattering(named),
            ]
        )
    else:
        output.text("no unit tracks anything")
    rest = [each for each in found.found if not each.named]
    if rest:
        output.text("\nthe best units of the other features")
        rows = [(str(each.unit), each.words, *_shares(each)) for each in rest]
        output.table(("unit", "feature", "knows", "untrained"), rows, left=2)
    chance = found.found[0].chance if found.found else None
    if chance is not None:
        output.text(f"\nfeatures of the shuffled text: the best unit knows {chance:.1%}")
    drawn = []
    for each in named:
        data = _drawn(found.recording, found.text, each.unit, each.places)
        drawn.append({**_content(each), **data})
    for each, data in zip(named, drawn, strict=True):
        _draw(f"{each.unit}, {each.words}", data, output)
    return {
        "characters": len(found.text),
        "units": number,
        "shuffled": chance,
        "features": [_content(each) for each in found.found],
        "drawn": drawn,
    }


def _look(
    model: LanguageModel,
    ids: Any,
    text: str,
    unit: Unit,
    clamp: float | None,
    where: str,
    output: Output,
) -> dict[str, Any]:
    """Print what one unit does."""
    import numpy as np

    from charlm.tasks.language_model.units import look_at

    with polled() as stop:
        found = look_at(model, ids, text, unit, value=clamp, should_stop=stop)
    values, cost = found.recording.of(unit), found.cost
    low, high = np.quantile(values, [0.05, 0.95])
    output.text(f"{where}, {len(values):,} characters: unit {unit}")
    output.text(f"mean {values.mean():.3f}, nine of ten values from {low:.3f} to {high:.3f}")
    if found.known:
        output.text("")
        rows = [(feature.name, f"{share:.0%}") for feature, share in found.known[:FEATURES]]
        output.table(("feature", "knows"), rows)
    words = f"held at {cost.held_at:.3f}, the next character costs {cost.everywhere:+.4f} bits more"
    if cost.there is not None and cost.elsewhere is not None:
        words += f": {cost.there:+.4f} there ({found.words}), {cost.elsewhere:+.4f} elsewhere, "
        words += f"and {cost.random:+.4f} there with a random unit"
    output.blocks(["", words])
    data = _drawn(found.recording, text, unit, found.places)
    _draw(f"{unit}, {found.words}", data, output)
    entry = {
        "unit": str(unit),
        "words": found.words,
        "cost": cost._asdict(),
        "knows": {feature.name: share for feature, share in found.known},
    }
    return {
        "characters": len(values),
        **entry,
        "text": text[: len(values)],
        "values": [round(each, 4) for each in values.tolist()],
        "drawn": [{**entry, **data}],
    }


def _row(each: Tracked) -> tuple[str, ...]:
    cost = each.cost
    bits = () if cost is None else (cost.there, cost.elsewhere, cost.random)
    shown_bits = ["-" if one is None else f"{one:+.3f}" for one in bits]
    return (str(each.unit), each.words, *_shares(each), str(each.others), *shown_bits)


def _shares(each: Tracked) -> tuple[str, str]:
    return f"{each.share:.0%}", f"{each.untrained:.0%}"


def _mattering(named: list[Tracked]) -> str:
    """Which of the units the prediction uses, as a sentence."""
    used = [str(each.unit) for each in named if each.cost and each.cost.matters]
    if not used:
        return "When held, none of these units costs more there than every random unit."
    return f"When held, these units cost more there than every random unit: {', '.join(used)}."


def _content(each: Tracked) -> dict[str, Any]:
    """A row in JSON."""
    return {
        "unit": str(each.unit),
        "feature": each.feature.name,
        "words": each.words,
        "tracks": each.named,
        "knows": each.share,
        "untrained": each.untrained,
        "more_units": each.others,
        "cost": None if each.cost is None else each.cost._asdict(),
        "matters": bool(each.cost and each.cost.matters),
    }


def _drawn(
    recording: Recording, text: str, unit: Unit, places: NDArray[np.bool_]
) -> dict[str, Any]:
    """A stretch of the second half where the feature comes and goes, with the unit's values.

    ``levels`` are -1 to 1: the distance from the median, in units of nearly the largest.
    ``side`` is 1 if the unit is high where the feature speaks, else -1.
    """
    import numpy as np

    values = recording.of(unit).astype(np.float64)
    half = len(text) // 2
    sums = np.concatenate([[0], np.cumsum(places)])
    size = min(STRETCH, len(values) - half)
    last = len(values) - size
    begins = [at for at in range(half, last + 1) if text[at - 1] == "\n" != text[at]]
    begins = begins or [*range(half, last + 1, 40)]
    counts = [int(sums[at + size] - sums[at]) for at in begins]
    begin = begins[int(np.argmax([min(count, size - count) for count in counts]))]
    distance = values - np.median(values)
    levels = np.clip(distance / max(float(np.quantile(np.abs(distance), 0.98)), 1e-9), -1, 1)
    there = values[places].mean() if places.any() else values.mean()
    return {
        "text": text[begin : begin + size],
        "levels": [round(each, 2) for each in levels[begin : begin + size].tolist()],
        "side": 1 if there >= values.mean() else -1,
    }


def _draw(title: str, drawn: dict[str, Any], output: Output) -> None:
    """Print a text coloured by the values of a unit."""
    colours, side = has_colours(sys.stdout), drawn["side"]
    levels = [round(STEPS * each) for each in drawn["levels"]]
    if colours:
        styles, numbers = STYLES, [STEPS + level for level in levels]
        legend = [("low", ""), *((" ", each) for each in STYLES), ("high", "")]
    else:
        styles, numbers = None, [int(side * level >= 2) for level in levels]
        legend = [(f"[in brackets]: {'high' if side > 0 else 'low'} values", "")]
    text = [*marked(drawn["text"], numbers, styles)]
    output.coloured([(f"\n{title}    ", ""), *legend, ("\n\n", ""), *text, ("\n", "")])
