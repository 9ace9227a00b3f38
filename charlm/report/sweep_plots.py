"""A picture of the trials of a sweep: their order, and each searched setting beside the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from charlm.report.drawing import COLOURS, WIDTH, drawable, picture, set_log_scale, style
from charlm.task import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A searched setting: its value in each trial."""

    name: str
    places: Sequence[float]  # a number for each trial; of a choice, its place among the choices
    choices: Sequence[str] = ()  # any text; empty: the places are the values
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials that have a score, in their order."""

    metric: Metric
    numbers: Sequence[int]
    values: Sequence[float]
    complete: Sequence[bool]  # False: pruned
    curves: Sequence[Sequence[tuple[float, float]]]  # part of the training, 0 to 1, and the metric
    searched: Sequence[Searched]


def sweep_picture(trials: Trials, title: str, kind: str) -> bytes:
    """A file with a picture of a sweep.

    Args:
        title: any text.
        kind: one of `charlm.report.drawing.KINDS`.
    """
    rows = 1 + (len(trials.searched) + 1) // 2
    return picture(kind, lambda figure: _draw(figure, trials, title), 0.8 + 2.4 * rows, WIDTH)


def _draw(figure: Figure, trials: Trials, title: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    rows = 1 + (len(trials.searched) + 1) // 2
    grid = figure.add_gridspec(rows, 2)
    first = figure.add_subplot(grid[0, 0])
    _points(first, trials, trials.numbers)
    best = max if trials.metric.higher_is_better else min
    complete = [
        (number, value)
        for number, value, done in zip(trials.numbers, trials.values, trials.complete, strict=True)
        if done
    ]
    if complete:
        places, values = zip(*complete, strict=True)
        first.step(
            places, [*accumulate(values, best)], where="post", color=COLOURS[1], label="best"
        )
    first.set_xlabel("trial")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    if trials.numbers:
        first.legend(frameon=False)
    first.set_title(drawable(title), loc="left", parse_math=False)
    axes = figure.add_subplot(grid[0, 1], sharey=first)
    for done, curve in zip(trials.complete, trials.curves, strict=True):
        look = "-" if done else ":"
        axes.plot(*zip(*curve, strict=True), look, color=COLOURS[0], alpha=0.6, marker=".")
    _label(axes, trials.metric)
    axes.set_xlabel("part of the training")
    axes.set_xlim(0, 1.02)
    for number, searched in enumerate(trials.searched):
        axes = figure.add_subplot(grid[1 + number // 2, number % 2], sharey=first)
        _points(axes, trials, searched.places)
        axes.set_xlabel(drawable(searched.name), parse_math=False)
        if searched.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        if searched.choices:
            axes.set_xticks(
                range(len(searched.choices)), map(drawable, searched.choices), parse_math=False
            )
            axes.set_xlim(-0.5, len(searched.choices) - 0.5)


def _points(axes: Axes, trials: Trials, places: Sequence[float]) -> None:
    for done, label, face in ((True, "complete", COLOURS[0]), (False, "pruned", "white")):
        chosen = [number for number, each in enumerate(trials.complete) if each == done]
        if chosen:
            axes.scatter(
                [places[number] for number in chosen],
                [trials.values[number] for number in chosen],
                s=26,
                facecolor=face,
                edgecolor=COLOURS[0],
                label=label,
                zorder=3,
            )
    _label(axes, trials.metric)


def _label(axes: Axes, metric: Metric) -> None:
    axes.set_ylabel(metric.title("valid") + (" (%)" if metric.percent else ""))
    style(axes)
    if metric.bits:
        set_log_scale(axes)
