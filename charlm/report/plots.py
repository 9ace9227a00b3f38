"""Pictures of numbers as the bytes of a file, the same for the same arguments.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charlm.report.drawing import COLOURS, LINES, drawable, picture, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """A line and a band around it, over k = 0, 1, ..."""

    name: str  # any text; a long one is cut
    remark: str  # a few words after the name in the legend
    lower: Sequence[float]
    middle: Sequence[float]
    upper: Sequence[float]


def memory_picture(curves: Sequence[Curve], threshold: float, kind: str) -> bytes:
    """A file with a picture of the norms of d h_t / d x_(t-k) over k, on a log scale.

    Args:
        curves: norms divided by the norm at k = 0.
        threshold: drawn as a line; characters with a norm below it count as forgotten.
        kind: one of `charlm.report.drawing.KINDS`.
    """
    return picture(kind, lambda figure: _draw_memory(figure, curves, threshold))


@dataclass(frozen=True)
class Bars:
    """Rows of horizontal bars: one for each name, or one for each of several series."""

    title: str
    names: Sequence[str]  # any text
    values: Mapping[str, Sequence[float]]  # of each series, at least 0
    remarks: Sequence[str]  # a few words after the bars of each name


def bars_picture(panels: Sequence[Bars], title: str, label: str, kind: str) -> bytes:
    """A file with a picture of bars, the panels one below the other, on the same scale.

    Args:
        label: what the length of a bar means.
        kind: one of `charlm.report.drawing.KINDS`.
    """
    rows = sum(len(panel.names) for panel in panels)
    height = 1.2 + 0.28 * rows + 0.5 * len(panels)
    return picture(kind, lambda figure: _draw_bars(figure, panels, title, label), height)


def _draw_memory(figure: Figure, curves: Sequence[Curve], threshold: float) -> None:
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(
            range(len(curve.middle)), curve.lower, curve.upper, color=colour, alpha=0.15, lw=0
        )
        axes.plot(
            curve.middle,
            color=colour,
            linestyle=LINES[number % len(LINES)],
            linewidth=2,
            label=f"{drawable(curve.name)}: {curve.remark}",
        )
    axes.axhline(threshold, color="0.4", linewidth=1)
    axes.annotate(
        f"{threshold:.0%}",
        xy=(1, threshold),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
        color="0.3",
    )
    axes.set_yscale("log", nonpositive="mask")
    axes.set_xlim(0, max(len(curve.middle) for curve in curves) - 1)
    style(axes)
    axes.set_xlabel("$k$, characters back")
    axes.set_ylabel(r"$\|\partial h_t \,/\, \partial x_{t-k}\|_F$, as a part of that at $k = 0$")
    legend = axes.legend(
        title="median over positions $t$; shaded: the middle half",
        frameon=False,
        handlelength=3.5,
        alignment="left",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is not a formula


def _draw_bars(figure: Figure, panels: Sequence[Bars], title: str, label: str) -> None:
    figure.suptitle(drawable(title), parse_math=False)
    ratios = [len(panel.names) + 1 for panel in panels]
    every = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    looks = ({"color": COLOURS[1]}, {"facecolor": "white", "edgecolor": "black", "hatch": "////"})
    for axes, panel in zip(every, panels, strict=True):
        places, thick = range(len(panel.names)), 0.8 / len(panel.values)
        for number, (name, values) in enumerate(panel.values.items()):
            where = [place + thick * (number + 0.5) - 0.4 for place in places]
            axes.barh(where, values, thick, label=name, linewidth=0.6, **looks[number])
        longest = [max(values) for values in zip(*panel.values.values(), strict=True)]
        for place, value, remark in zip(places, longest, panel.remarks, strict=True):
            axes.annotate(
                remark, (value, place), (4, 0), textcoords="offset points", va="center", size=8
            )
        axes.set_yticks(places, [drawable(name) for name in panel.names], parse_math=False)
        axes.set_ylim(len(panel.names) - 0.4, -0.6)  # from top to bottom
        axes.set_title(panel.title, loc="left", size="medium")
        axes.margins(x=0.25)
        style(axes)
        axes.grid(visible=False, axis="y")
    every[0].legend(frameon=False, loc="lower right")
    every[-1].set_xlabel(label)
