"""What all pictures share: kinds of files, fonts, colours, scales, and names that fit."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""The kinds of files, with metadata that leaves out the time, so that bytes can be repeated."""

# Okabe and Ito (2008), "Color universal design", in an order whose lightness differs in grey too.
COLOURS = ("#000000", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#56B4E9")
LINES = ("-", "--", ":", "-.")
_CHINESE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti TC", "Microsoft YaHei", "SimHei", "SimSun"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
)
_MAX_NAME = 60  # characters
WIDTH, HEIGHT = 7.2, 4.6  # inches
HIGHEST = 1e100  # on a log scale; near 1e308 its margins would overflow


def own_style() -> Any:
    """A block without the user's settings, which may name missing fonts or a TeX."""
    import matplotlib.style

    own = {"svg.hashsalt": "charlm", "font.family": _families()}
    return matplotlib.style.context(["default", own])


def _families() -> list[str]:
    """matplotlib's own font, and the first font of this machine that has Chinese characters."""
    from matplotlib.font_manager import fontManager

    here = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in _CHINESE_FONTS if name in here][:1]]


def picture(
    kind: str, draw: Callable[[Figure], None], height: float = HEIGHT, width: float = WIDTH
) -> bytes:
    """A file of a kind in `KINDS` with what a function draws; the sizes are in inches."""
    from matplotlib.figure import Figure

    with own_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=160, metadata=KINDS[kind])
    return file.getvalue()


def set_log_scale(axes: Axes) -> bool:
    """A log scale with labels such as 0.6, not 6 times a power of 10, for what is drawn there.

    Without a positive value the scale stays as it is, and the result is False. What is above
    `HIGHEST`, such as the perplexity of a training that diverged, leaves the picture.
    """
    from matplotlib.ticker import LogFormatter

    if not math.isfinite(axes.dataLim.minposy):
        return False
    if not axes.dataLim.y1 <= HIGHEST:
        axes.set_ylim(min(axes.dataLim.minposy, HIGHEST / 10), HIGHEST)

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain())
    return True


def set_bits(axes: Axes, label: str) -> None:
    """A second scale at the right of a log scale: the logarithm to base 2."""
    import numpy as np
    from matplotlib.ticker import AutoLocator, NullLocator, ScalarFormatter

    bits = axes.secondary_yaxis("right", functions=(np.log2, np.exp2))
    bits.set_ylabel(label)
    bits.yaxis.set_major_locator(AutoLocator())
    bits.yaxis.set_major_formatter(ScalarFormatter())
    bits.yaxis.set_minor_locator(NullLocator())


def style(axes: Axes) -> None:
    """Light lines behind the curves, and no frame at the top and at the right."""
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def drawable(name: str) -> str:
    """A name with an escape for each character that the fonts lack, cut to a length that fits."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[family])) for family in _families()]
    known = set().union(*(get_font(file).get_charmap() for file in files))
    drawn = "".join(
        c if ord(c) in known and c.isprintable() else c.encode("unicode_escape").decode()
        for c in name
    )
    return drawn if len(drawn) <= _MAX_NAME else f"{drawn[: _MAX_NAME - 1]}…"
