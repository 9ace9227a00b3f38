"""Pictures of the metrics over trainings, as the bytes of a file or as a figure.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.report.bundles import Bundle, Line, time_axis
from charlm.report.drawing import (
    COLOURS,
    HEIGHT,
    LINES,
    WIDTH,
    drawable,
    own_style,
    picture,
    set_bits,
    set_log_scale,
    style,
)
from charlm.report.run_page import speeds
from charlm.task import Metric, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Over = Sequence[tuple[str, Sequence[float]]]
"""What curves are drawn over, side by side: the name of each axis, and its value at each report."""


@dataclass(frozen=True)
class Series:
    """The values of a metric over a training."""

    metric: Metric  # series of the same metric share their axes
    title: str  # the name in the legend, such as "valid accuracy"
    values: Sequence[float | None]  # None where the metric was not measured
    log_scale: bool = False  # a metric with bits has one anyway
    is_level: bool = False  # a constant, drawn as a thin line


def gradient_series(metrics: Sequence[Mapping[str, Any]], clip_norm: float) -> list[Series]:
    """The gradient norms and, if any were clipped, the share of clipped steps.

    Args:
        metrics: the lines of metrics.jsonl.
        clip_norm: the setting; a line shows it unless it is far above all norms; 0: no clipping.
    """
    largest = [row["largest_gradient_norm"] for row in metrics]
    top = max((norm for norm in largest if norm is not None), default=None)
    if top is None:
        return []
    norm, clipped = Metric(name="gradient norm"), Metric(name="clipped steps", percent=True)
    shares = [row["clipped_share"] for row in metrics]
    percents = [None if each is None else 100 * each for each in shares]
    limit = [Series(norm, "clip norm", [clip_norm] * len(metrics), True, True)]
    return [
        Series(norm, "mean", [row["gradient_norm"] for row in metrics], log_scale=True),
        Series(norm, "largest", largest, log_scale=True),
        *(limit if 0 < clip_norm <= 10 * top else []),
        *([Series(clipped, "clipped", percents)] if any(shares) else []),
    ]


def learning_series(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The training and the validation metric of some reports, as in metrics.jsonl."""
    splits = ("train", task.train_metric), ("valid", task.valid_metric)
    return [
        Series(metric, metric.title(split), [row[metric.key(split)] for row in rows])
        for split, metric in splits
    ]


def training_series(
    task: Task,
    metrics: Sequence[Mapping[str, Any]],
    clip_norm: float,
    baselines: Mapping[str, float] | None = None,
) -> list[Series]:
    """All that a picture of a whole training shows: metrics, learning rate, gradients, speed.

    With averaging, that is also the validation metric of the weights and of their mean.

    Args:
        metrics: as in `gradient_series`, as ``clip_norm``.
        baselines: the validation metric of simpler predictors, by name.
    """
    valid, key = task.valid_metric, task.metric_keys[1]
    means = {"raw": "valid, of the weights", "averaged": "valid, of their mean"}
    rate, speed = Metric(name="learning rate"), Metric(name=f"{task.unit} per second")
    levels = (baselines or {}).items()
    return [
        *learning_series(task, metrics),
        *(Series(valid, t, [row[f"{k}_{key}"] for row in metrics]) for k, t in means.items()),
        *(Series(valid, name, [level] * len(metrics), is_level=True) for name, level in levels),
        Series(rate, rate.name, [row["learning_rate"] for row in metrics]),
        *gradient_series(metrics, clip_norm),
        Series(speed, speed.name, speeds(task, metrics)),
    ]


def training_axes(task: Task, metrics: Sequence[Mapping[str, Any]]) -> Over:
    """The items that were seen and the time at each report, as in metrics.jsonl."""
    label, divisor = time_axis([row["seconds"] for row in metrics])
    return [
        (f"{task.unit} seen", [row[task.unit] for row in metrics]),
        (label, [row["seconds"] / divisor for row in metrics]),
    ]


def learning_picture(over: Over, series: Sequence[Series], title: str, kind: str) -> bytes:
    """A file with a picture of the metrics over a training.

    Args:
        series: those without data are left out.
        kind: one of `charlm.report.drawing.KINDS`.
    """
    shown = _with_data(series)
    return picture(
        kind, lambda figure: _draw_learning(figure, over, shown, title), *_size(over, shown)
    )


def learning_figure(over: Over, series: Sequence[Series], title: str) -> Figure:
    """The picture of `learning_picture` as a figure, which a notebook shows without pyplot."""
    from charlm.report.figures import ShownFigure

    shown = _with_data(series)
    with own_style():
        height, width = _size(over, shown)
        figure = ShownFigure(figsize=(width, height), layout="constrained")
        _draw_learning(figure, over, shown, title)
    return figure


def bundles_picture(bundles: Sequence[Bundle], title: str, kind: str) -> bytes:
    """A file with a picture of a metric over trainings in groups: each group has a colour.

    Args:
        bundles: at least one; those without data are left out.
        kind: one of `charlm.report.drawing.KINDS`.
    """
    shown = [bundle for bundle in bundles if bundle.has_data] or bundles[:1]
    size = max(HEIGHT, 1.1 + 3 * len({bundle.metric for bundle in shown})), WIDE
    return picture(kind, lambda figure: _draw_bundles(figure, shown, title), *size)


WIDE = 1.5 * WIDTH  # inches, of a picture with two columns


def _with_data(series: Sequence[Series]) -> Sequence[Series]:
    """The series that have data; if none has any, the first one, for empty axes."""
    return [each for each in series if any(v is not None for v in each.values)] or series[:1]


def _size(over: Over, series: Sequence[Series]) -> tuple[float, float]:
    """Height and width of a picture in inches: each metric has axes of its own."""
    height = max(HEIGHT, 1.1 + 1.9 * len({each.metric for each in series}))
    return height, WIDTH if len(over) == 1 else WIDE


def _draw_learning(figure: Figure, over: Over, series: Sequence[Series], title: str) -> None:
    metrics = list(dict.fromkeys(each.metric for each in series))
    grid = figure.subplots(len(metrics), len(over), sharex="col", sharey="row", squeeze=False)
    for (label, places), column in zip(over, grid.T, strict=True):
        for axes, metric in zip(column, metrics, strict=True):
            for number, each in enumerate(series):
                if each.metric == metric:
                    _draw_series(axes, number, each, places)
        _set_x_axis(column[-1], label, places)
    for axes_row, metric in zip(grid, metrics, strict=True):
        _finish_row(axes_row, metric)
    grid[0, 0].set_title(drawable(title), loc="left", parse_math=False)


def _draw_series(axes: Axes, number: int, series: Series, places: Sequence[float]) -> None:
    pairs = zip(places, series.values, strict=True)
    measured = [(place, value) for place, value in pairs if value is not None]
    axes.plot(
        *zip(*measured, strict=True) if measured else ((), ()),
        color="0.45" if series.is_level else COLOURS[number % len(COLOURS)],
        linestyle=LINES[number % len(LINES)],
        marker="." if len(measured) < 50 and not series.is_level else "",
        linewidth=1.2 if series.is_level else 2,
        label=series.title if measured else None,
    )
    if series.log_scale:
        set_log_scale(axes)


def _draw_bundles(figure: Figure, bundles: Sequence[Bundle], title: str) -> None:
    metrics = list(dict.fromkeys(bundle.metric for bundle in bundles))
    grid = figure.subplots(len(metrics), 2, sharey="row", squeeze=False)
    seconds = [x for bundle in bundles for line in bundle.lines[1] for x, _ in line]
    time_label, divisor = time_axis(seconds)
    for axes_row, metric in zip(grid, metrics, strict=True):
        for number, bundle in enumerate(bundles):
            if bundle.metric != metric:
                continue
            labels = (f"{bundle.items} seen", 1), (time_label, divisor)
            both = zip(axes_row, bundle.lines, bundle.means, labels, strict=True)
            for axes, lines, mean, (label, by) in both:
                scaled = [[(x / by, y) for x, y in line] for line in (*lines, mean)]
                _draw_lines(axes, number, bundle.name, scaled[:-1], scaled[-1])
                _set_x_axis(axes, label, [x for line in scaled for x, _ in line])
        _finish_row(axes_row, metric)
    grid[0, 0].set_title(drawable(title), loc="left", parse_math=False)


def _draw_lines(axes: Axes, number: int, name: str, lines: Sequence[Line], mean: Line) -> None:
    look: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
    }
    thin = {**look, "linewidth": 0.8, "alpha": 0.6}
    drawn = [*(axes.plot(*zip(*line, strict=True), **thin)[0] for line in lines)]
    if mean:
        thick = {**look, "linewidth": 2.4, "marker": "." if len(mean) == 1 else ""}
        drawn += axes.plot(*zip(*mean, strict=True), **thick)
    for last in drawn[-1:]:
        last.set_label(drawable(name))


def _finish_row(axes_row: Sequence[Axes], metric: Metric) -> None:
    """Scale, names and legend of the axes of a metric."""
    first, last = axes_row[0], axes_row[-1]
    first.set_ylabel(f"{metric.label or metric.name}{' (%)' if metric.percent else ''}")
    for axes in axes_row:
        style(axes)
        axes.grid(color="0.9", which="both", axis="y")  # a log scale may have minor ticks alone
    if metric.bits and set_log_scale(first):
        set_bits(last, metric.bits)
    _, names = first.get_legend_handles_labels()
    if names and names != [metric.name]:
        for text in first.legend(edgecolor="none", framealpha=0.8).get_texts():
            text.set_parse_math(False)  # a name is not a formula


def _set_x_axis(axes: Axes, label: str, places: Sequence[float]) -> None:
    """The name of an axis; whole epochs, and large numbers of items such as 20k or 1M."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlabel(label)
    most = max(places, default=0)
    if label == "epoch" and most > 2:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif most >= 10_000:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
