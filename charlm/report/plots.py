"""Pictures as the bytes of a file, the same for the same arguments.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.task import Metric, Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""The kinds of files, with metadata that leaves out the time, so that bytes can be repeated."""

# Okabe and Ito (2008), "Color universal design", in an order whose lightness differs in grey too.
_COLOURS = ("#000000", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9")
_LINES = ("-", "--", ":", "-.")
_MAX_NAME = 60  # characters
_HEIGHT = 4.6  # inches


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
        kind: one of `KINDS`.
    """
    return _picture(kind, lambda figure: _draw_memory(figure, curves, threshold))


@dataclass(frozen=True)
class Series:
    """The values of a metric over a training."""

    metric: Metric  # series of the same metric share their axes
    title: str  # the name in the legend, such as "valid accuracy"
    values: Sequence[float | None]  # None where the metric was not measured
    log_scale: bool = False


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
    limit = [Series(norm, "clip norm", [clip_norm] * len(metrics), log_scale=True)]
    return [
        Series(norm, "mean", [row["gradient_norm"] for row in metrics], log_scale=True),
        Series(norm, "largest", largest, log_scale=True),
        *(limit if 0 < clip_norm <= 10 * top else []),
        *([Series(clipped, "clipped", percents)] if any(shares) else []),
    ]


def learning_picture(
    epochs: Sequence[float], series: Sequence[Series], title: str, kind: str
) -> bytes:
    """A file with a picture of the metrics over a training.

    Args:
        epochs: the epoch of each report.
        kind: one of `KINDS`.
    """
    height = _height(series)
    return _picture(kind, lambda figure: _draw_learning(figure, epochs, series, title), height)


def _height(series: Sequence[Series]) -> float:
    """The height of a picture in inches: each metric has axes of its own."""
    return max(_HEIGHT, 1.1 + 1.9 * len({each.metric for each in series}))


def learning_series(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The training and the validation metric of some reports, as in metrics.jsonl."""
    splits = ("train", task.train_metric), ("valid", task.valid_metric)
    return [
        Series(metric, metric.title(split), [row[metric.key(split)] for row in rows])
        for split, metric in splits
    ]


def learning_figure(epochs: Sequence[float], series: Sequence[Series], title: str) -> Figure:
    """The picture of `learning_picture` as a figure, which a notebook shows without pyplot."""
    from charlm.report.figures import ShownFigure

    with _own_style():
        figure = ShownFigure(figsize=(7.2, _height(series)), layout="constrained")
        _draw_learning(figure, epochs, series, title)
    return figure


def _own_style() -> Any:
    """A block without the user's settings, which may name missing fonts or a TeX."""
    import matplotlib.style

    return matplotlib.style.context(["default", {"svg.hashsalt": "charlm"}])


def _picture(kind: str, draw: Callable[[Figure], None], height: float = _HEIGHT) -> bytes:
    from matplotlib.figure import Figure

    with _own_style():
        figure = Figure(figsize=(7.2, height), layout="constrained")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=160, metadata=KINDS[kind])
    return file.getvalue()


def _draw_learning(
    figure: Figure, epochs: Sequence[float], series: Sequence[Series], title: str
) -> None:
    metrics = list(dict.fromkeys(each.metric for each in series))
    every = figure.subplots(len(metrics), sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(every, metrics, strict=True):
        for number, each in enumerate(series):
            if each.metric == metric:
                pairs = zip(epochs, each.values, strict=True)
                measured = [(epoch, value) for epoch, value in pairs if value is not None]
                axes.plot(
                    *zip(*measured, strict=True) if measured else ((), ()),
                    color=_COLOURS[number % len(_COLOURS)],
                    linestyle=_LINES[number % len(_LINES)],
                    marker="." if len(measured) < 50 else "",
                    linewidth=2,
                    label=each.title,
                )
                if each.log_scale:
                    _set_log_scale(axes)
        axes.set_ylabel(f"{metric.label or metric.name}{' (%)' if metric.percent else ''}")
        _style(axes)
        axes.legend(frameon=False)
    every[-1].set_xlabel("epoch")
    if epochs and max(epochs) > 2:
        every[-1].xaxis.get_major_locator().set_params(integer=True)
    every[0].set_title(_drawable(title), loc="left", parse_math=False)


def _set_log_scale(axes: Axes) -> None:
    """A log scale with labels such as 0.6, not 6 times a power of 10."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain())


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
    _style(axes)
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


def _style(axes: Axes) -> None:
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _drawable(name: str) -> str:
    """A name with an escape for each character that the font lacks, cut to a length that fits."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    drawn = "".join(
        c if ord(c) in known and c.isprintable() else c.encode("unicode_escape").decode()
        for c in name
    )
    return drawn if len(drawn) <= _MAX_NAME else f"{drawn[: _MAX_NAME - 1]}…"
