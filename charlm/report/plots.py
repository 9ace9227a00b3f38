"""Pictures as the bytes of a file; matplotlib is imported when one is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""what can be written, and what keeps the time out of it: the same numbers, the same bytes"""

# Okabe and Ito (2008), "Color universal design", in an order whose lightness differs in grey too.
_COLOURS = ("#000000", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9")
_LINES = ("-", "--", ":", "-.")
_MAX_NAME = 60  # characters


@dataclass(frozen=True)
class Curve:
    """A line and the band around it, over k = 0, 1, ...

    Attributes:
        name: any text; what does not fit is cut.
        remark: a few words that follow it in the legend.
    """

    name: str
    remark: str
    lower: Sequence[float]
    middle: Sequence[float]
    upper: Sequence[float]


def memory_picture(curves: Sequence[Curve], threshold: float, kind: str) -> bytes:
    """How norms of d h_t / d x_(t-k) fall with k, on a log scale.

    Args:
        curves: norms as a part of the one at k = 0.
        threshold: drawn as a line: what is below it counts as forgotten.
        kind: one of `KINDS`.

    Returns:
        A file's content, the same for the same arguments.
    """
    return _picture(kind, lambda figure: _draw_memory(figure, curves, threshold))


def learning_picture(
    epochs: Sequence[float], figures: Mapping[str, Sequence[float | None]], title: str, kind: str
) -> bytes:
    """What was measured over a training; figures of the same unit share their axes.

    Args:
        epochs: when it was measured.
        figures: by name, such as train_loss and valid_accuracy; None where it was not measured.
        kind: one of `KINDS`.

    Returns:
        A file's content, the same for the same arguments.
    """
    return _picture(kind, lambda figure: _draw_learning(figure, epochs, figures, title))


def _picture(kind: str, draw: Callable[[Figure], None]) -> bytes:
    import matplotlib.style
    from matplotlib.figure import Figure

    # The user's own settings may ask for fonts or a TeX that are not there.
    with matplotlib.style.context(["default", {"svg.hashsalt": "charlm"}]):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=160, metadata=KINDS[kind])
    return file.getvalue()


def _draw_learning(
    figure: Figure,
    epochs: Sequence[float],
    figures: Mapping[str, Sequence[float | None]],
    title: str,
) -> None:
    units = list(dict.fromkeys(name.partition("_")[2] for name in figures))
    every = figure.subplots(len(units), sharex=True, squeeze=False)[:, 0]
    for axes, unit in zip(every, units, strict=True):
        for number, (name, values) in enumerate(figures.items()):
            if name.partition("_")[2] == unit:
                measured = [(e, v) for e, v in zip(epochs, values, strict=True) if v is not None]
                axes.plot(
                    *zip(*measured, strict=True) if measured else ((), ()),
                    color=_COLOURS[number],
                    linestyle=_LINES[number],
                    marker="." if len(measured) < 50 else "",
                    linewidth=2,
                    label=name.replace("_f1", " F1").replace("_", " "),
                )
        percent = unit in ("accuracy", "f1")
        axes.set_ylabel(f"{unit.replace('f1', 'F1')}{' (%)' if percent else ''}")
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    every[-1].set_xlabel("epoch")
    if epochs and max(epochs) > 2:
        every[-1].xaxis.get_major_locator().set_params(integer=True)
    every[0].set_title(_drawable(title), loc="left", parse_math=False)


def _draw_memory(figure: Figure, curves: Sequence[Curve], threshold: float) -> None:
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.fill_between(
            range(len(curve.middle)), curve.lower, curve.upper, color=colour, alpha=0.15, lw=0
        )
        axes.plot(
            curve.middle,
            color=colour,
            linestyle=_LINES[number % len(_LINES)],
            linewidth=2,
            label=f"{_drawable(curve.name)}: {curve.remark}",
        )
    axes.axhline(threshold, color="0.4", linewidth=1)
    axes.annotate(
        f"{threshold:.0%}", (1, threshold), (-4, 3), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", color="0.3",
    )  # fmt: skip
    axes.set_yscale("log", nonpositive="mask")
    axes.set_xlim(0, max(len(curve.middle) for curve in curves) - 1)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("$k$, characters back")
    axes.set_ylabel(r"$\|\partial h_t \,/\, \partial x_{t-k}\|_F$, as a part of that at $k = 0$")
    legend = axes.legend(
        title="median over positions $t$; shaded: the middle half",
        frameon=False,
        handlelength=3.5,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is no formula


def _drawable(name: str) -> str:
    """A name with an escape for each character that the font lacks, cut to a length that fits."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    drawn = "".join(
        c if ord(c) in known and c.isprintable() else c.encode("unicode_escape").decode()
        for c in name
    )
    return drawn if len(drawn) <= _MAX_NAME else f"{drawn[: _MAX_NAME - 1]}…"
