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
_CHINESE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti TC", "Microsoft YaHei", "SimHei", "SimSun"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
)
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
        kind: one of `KINDS`.
    """
    rows = sum(len(panel.names) for panel in panels)
    height = 1.2 + 0.28 * rows + 0.5 * len(panels)
    return _picture(kind, lambda figure: _draw_bars(figure, panels, title, label), height)


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

    own = {"svg.hashsalt": "charlm", "font.family": _families()}
    return matplotlib.style.context(["default", own])


def _families() -> list[str]:
    """matplotlib's own font, and the first font of this machine that has Chinese characters."""
    from matplotlib.font_manager import fontManager

    here = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in _CHINESE_FONTS if name in here][:1]]


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


def _draw_bars(figure: Figure, panels: Sequence[Bars], title: str, label: str) -> None:
    figure.suptitle(_drawable(title), parse_math=False)
    ratios = [len(panel.names) + 1 for panel in panels]
    every = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    looks = ({"color": _COLOURS[1]}, {"facecolor": "white", "edgecolor": "black", "hatch": "////"})
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
        axes.set_yticks(places, [_drawable(name) for name in panel.names], parse_math=False)
        axes.set_ylim(len(panel.names) - 0.4, -0.6)  # from top to bottom
        axes.set_title(panel.title, loc="left", size="medium")
        axes.margins(x=0.25)
        _style(axes)
        axes.grid(visible=False, axis="y")
    every[0].legend(frameon=False, loc="lower right")
    every[-1].set_xlabel(label)


def _style(axes: Axes) -> None:
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _drawable(name: str) -> str:
    """A name with an escape for each character that the fonts lack, cut to a length that fits."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[family])) for family in _families()]
    known = set().union(*(get_font(file).get_charmap() for file in files))
    drawn = "".join(
        c if ord(c) in known and c.isprintable() else c.encode("unicode_escape").decode()
        for c in name
    )
    return drawn if len(drawn) <= _MAX_NAME else f"{drawn[: _MAX_NAME - 1]}…"
