"""Pictures: whole files of each kind, for any names and numbers."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from charlm.report import drawing
from charlm.report.drawing import KINDS
from charlm.report.plots import (
    Bars,
    Curve,
    _draw_bars,
    _draw_memory,
    bars_picture,
    memory_picture,
)

FALLING = [0.5**k for k in range(51)]
CURVES = [
    Curve(name, "12", [a / 2 for a in FALLING], FALLING, [a * 2 for a in FALLING])
    for name in ("rnn", "gru", "lstm, three")
]
BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.fixture(autouse=True)
def _no_warning():
    """Warnings are errors, also the one about a missing glyph."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_memory_picture_is_a_whole_file_and_repeats(kind):
    data = memory_picture(CURVES, 0.01, kind)
    assert data.startswith(BEGINNINGS[kind])
    assert data == memory_picture(CURVES, 0.01, kind)
    if kind == "png":
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == (1152, 736)
            assert len(image.convert("L").getcolors(maxcolors=256)) > 10
    elif kind == "svg":
        assert ElementTree.fromstring(data).tag.endswith("svg")
    else:
        assert data.rstrip().endswith(b"%%EOF")


def test_content_of_the_memory_picture():
    figure = Figure()
    _draw_memory(figure, CURVES, 0.01)
    (axes,) = figure.axes
    *lines, threshold = axes.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [FALLING] * 3
    assert set(threshold.get_ydata()) == {0.01}
    assert axes.get_yscale() == "log"
    assert axes.get_xlim() == (0, 50)
    assert "characters" in axes.get_xlabel()
    assert "as a part of that at" in axes.get_ylabel()
    assert len(axes.collections) == 3  # the bands
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "rnn: 12",
        "gru: 12",
        "lstm, three: 12",
    ]


def test_lines_differ_in_style_and_in_grey():
    figure = Figure()
    _draw_memory(figure, [CURVES[0]] * 28, 0.01)
    lines = figure.axes[0].get_lines()[:-1]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 28
    grey = [
        0.299 * red + 0.587 * green + 0.114 * blue
        for red, green, blue in (to_rgb(line.get_color()) for line in lines[:3])
    ]
    assert min(abs(a - b) for a, b in itertools.pairwise(grey)) > 0.25


def test_any_name_is_drawn(monkeypatch):
    monkeypatch.setattr(drawing, "_CHINESE_FONTS", ())
    names = {
        "lstm, 分开": r"lstm, \u5206\u5f00",
        "lstm, caf\u00e9 Ωж": "lstm, café Ωж",
        "lstm, $x_1^2$ and $": "lstm, $x_1^2$ and $",
        "lstm, two\nlines\x1b[0m\u202e": r"lstm, two\nlines\x1b[0m\u202e",
        "lstm, \udcff": r"lstm, \udcff",
        "lstm, \U00020000": r"lstm, \U00020000",
        "lstm, {%#&~\\frac": "lstm, {%#&~\\frac",
        "lstm, " + "a" * 200: "lstm, " + "a" * 53 + "…",
    }
    figure = Figure()
    curves = [Curve(name, "below 1% from 12", FALLING, FALLING, FALLING) for name in names]
    _draw_memory(figure, curves, 0.01)
    texts = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in texts] == [f"{n}: below 1% from 12" for n in names.values()]
    assert not any(text.get_parse_math() for text in texts)
    for kind in KINDS:
        assert memory_picture(curves, 0.01, kind).startswith(BEGINNINGS[kind])


def test_names_in_chinese_are_drawn_where_a_font_has_them(monkeypatch):
    """With another font of matplotlib's in place of a Chinese one: DejaVu Sans lacks U+2312."""
    name = "\u2312 \u5206"
    for fonts, drawn in (((), r"\u2312 \u5206"), (("DejaVu Sans Mono",), "\u2312 " + r"\u5206")):
        monkeypatch.setattr(drawing, "_CHINESE_FONTS", fonts)
        assert drawing.drawable(name) == drawn
        data = bars_picture([Bars("after", [name], {"model": [1.0]}, ["1"])], "a", "bits", "svg")
        assert ElementTree.fromstring(data).tag.endswith("svg")


BARS = [
    Bars("kind", ["a", "$b$"], {"model": [1.0, 0.0], "ngram": [0.5, 2.0]}, ["1 x", "2 x"]),
    Bars("after", ["c"], {"model": [1.5]}, ["3 x"]),
]


@pytest.mark.parametrize("kind", KINDS)
def test_bars_picture_is_a_whole_file_and_repeats(kind):
    data = bars_picture(BARS, "分 $x$ run", "bits", kind)
    assert data.startswith(BEGINNINGS[kind])
    assert data == bars_picture(BARS, "分 $x$ run", "bits", kind)


def test_content_of_the_bars_picture():
    figure = Figure()
    _draw_bars(figure, BARS, "run", "bits")
    above, below = figure.axes
    assert [bar.get_width() for bar in above.patches] == [1.0, 0.0, 0.5, 2.0]
    assert [text.get_text() for text in above.get_yticklabels()] == ["a", "$b$"]
    assert [text.get_text() for text in above.texts] == ["1 x", "2 x"]
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["model", "ngram"]
    assert len({bar.get_hatch() for bar in above.patches}) == 2  # they differ without colours too
    assert (below.get_title("left"), below.get_xlabel()) == ("after", "bits")


@pytest.mark.parametrize(
    "values", [[1.0, 0.5], [1.0, 0.0, 0.0], [1.0, 1e-300], [1.0, 1e250], [1.0, 1.0, 1.0]]
)
def test_extreme_numbers(values):
    data = memory_picture([Curve("lstm", "12", values, values, values)], 0.01, "svg")
    assert ElementTree.fromstring(data).tag.endswith("svg")


def test_curves_of_unequal_lengths():
    figure = Figure()
    _draw_memory(figure, [CURVES[0], Curve("short", "beyond 1", [1, 1], [1, 1], [1, 1])], 0.01)
    assert figure.axes[0].get_xlim() == (0, 50)


def test_settings_of_the_user_are_ignored_and_kept(monkeypatch):
    expected = memory_picture(CURVES, 0.01, "svg")
    for name, value in (("text.usetex", True), ("font.family", ["No Such Font"])):
        monkeypatch.setitem(rcParams, name, value)
    assert memory_picture(CURVES, 0.01, "svg") == expected
    assert rcParams["text.usetex"] is True


def test_neither_torch_nor_a_window_system_is_imported():
    probe = (
        "import sys; from charlm.report.plots import *; before = 'matplotlib' in sys.modules; "
        "memory_picture([Curve('a', 'b', [1, 1], [1, 1], [1, 1])], 0.01, 'png'); "
        "print(before, 'matplotlib' in sys.modules, 'torch' in sys.modules, "
        "'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "False", "False"], done.stderr
