"""Pictures of trainings: what they show of any run, and that each is a whole file."""

from __future__ import annotations

import math

import pytest
from matplotlib.figure import Figure

from charlm.report.bundles import Bundle
from charlm.report.curves import (
    Series,
    _draw_bundles,
    _draw_learning,
    _with_data,
    bundles_picture,
    gradient_series,
    learning_picture,
)
from charlm.report.drawing import KINDS
from charlm.task import Metric

BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}
LOSS, PERPLEXITY = Metric(name="loss"), Metric(name="perplexity", bits="bits")
ACCURACY = Metric(name="accuracy", percent=True)
F1 = Metric(name="f1", label="F1", percent=True)
OVER = [("texts seen", [1e4, 2e4, 3e4]), ("minutes", [1.0, 2.0, 3.0])]
LEARNING = {
    "one metric": [
        Series(PERPLEXITY, "train perplexity", [9.0, 5.0, 4.0]),
        Series(PERPLEXITY, "valid perplexity", [8.0, None, 4.5]),
    ],
    "two metrics": [
        Series(LOSS, "train loss", [0.7, 0.5, 0.3]),
        Series(ACCURACY, "valid accuracy", [50.0, 70.0, 80.0]),
    ],
    "never measured": [
        Series(LOSS, "train loss", [0.7, 0.5, 0.3]),
        Series(F1, "valid F1", [None, None, None]),
    ],
}


@pytest.mark.parametrize(("kind", "name"), [*zip(KINDS, LEARNING, strict=True)])
def test_learning_picture_is_a_whole_file(kind, name):
    series = LEARNING[name]
    data = learning_picture(OVER, series, "分 $x$ run", kind)
    assert data.startswith(BEGINNINGS[kind])
    assert data == learning_picture(OVER, series, "分 $x$ run", kind)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[0.0] * 3, [5.0, 1e308, 0.0]])
def test_values_that_no_scale_can_show_are_no_error(values):
    """A training that diverged has a perplexity near the largest number there is."""
    series = [Series(PERPLEXITY, "train", values), Series(LOSS, "norm", values, log_scale=True)]
    assert learning_picture(OVER, series, "run", "png").startswith(BEGINNINGS["png"])


def drawn(series, places=(1, 2, 3)):
    figure = Figure()
    _draw_learning(figure, [("epoch", places)], _with_data(series), "run")
    return figure.axes


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_series_of_one_metric_share_their_axes_and_gaps_are_left_out():
    (axes,) = drawn(LEARNING["one metric"])
    train, valid = axes.get_lines()
    assert list(train.get_ydata()) == [9.0, 5.0, 4.0]
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([1, 3], [8.0, 4.5])
    assert axes.get_ylabel() == "perplexity"
    above, below = drawn(LEARNING["two metrics"])
    assert (above.get_ylabel(), below.get_ylabel()) == ("loss", "accuracy (%)")
    assert list(below.get_lines()[0].get_ydata()) == [50.0, 70.0, 80.0]


def test_a_series_without_data_has_neither_axes_nor_a_legend_entry():
    (axes,) = drawn(LEARNING["never measured"])
    assert (axes.get_ylabel(), legend(axes)) == ("loss", ["train loss"])
    train = LEARNING["one metric"][0]
    (axes,) = drawn([train, Series(PERPLEXITY, "valid perplexity", [None] * 3)])
    assert legend(axes) == ["train perplexity"]
    (axes,) = drawn([Series(PERPLEXITY, "train perplexity", [None] * 3)])
    assert (axes.get_ylabel(), axes.get_legend()) == ("perplexity", None)


def test_the_columns_are_over_items_and_over_time_and_bits_are_at_the_right():
    figure = Figure()
    _draw_learning(figure, OVER, LEARNING["one metric"], "run")
    left, right = figure.axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["texts seen", "minutes"]
    assert list(right.get_lines()[1].get_xdata()) == [1.0, 3.0]
    assert (left.get_yscale(), left.child_axes) == ("log", [])
    (bits,) = right.child_axes
    figure.draw_without_rendering()
    assert bits.get_ylabel() == "bits"
    assert bits.get_ylim() == pytest.approx([math.log2(y) for y in right.get_ylim()])


def test_gradient_norms_have_axes_of_their_own():
    keys = ("gradient_norm", "largest_gradient_norm", "clipped_share")
    rows = [dict(zip(keys, values, strict=True)) for values in [(0.5, 2.0, 0.25), (None,) * 3]]
    norms, clipped = drawn(gradient_series(rows, 1.0), (1, 2))
    assert (norms.get_ylabel(), clipped.get_ylabel()) == ("gradient norm", "clipped steps (%)")
    assert norms.get_yscale() == "log"
    lines = {line.get_label(): list(line.get_ydata()) for line in norms.get_lines()}
    assert lines == {"mean": [0.5], "largest": [2.0], "clip norm": [1.0, 1.0]}
    assert list(clipped.get_lines()[0].get_ydata()) == [25.0]
    for far_above in (0.0, 1e9):
        titles = [each.title for each in gradient_series(rows, far_above)]
        assert titles == ["mean", "largest", "clipped"]
    unclipped = gradient_series([{**rows[0], "clipped_share": 0.0}], 1.0)
    assert [each.title for each in unclipped] == ["mean", "largest", "clip norm"]
    assert gradient_series(rows[1:], 1.0) == gradient_series([], 1.0) == []


@pytest.mark.parametrize("epochs", [[], [1], [0.001, 0.002]])
def test_learning_picture_of_few_reports(epochs):
    series = [Series(LOSS, "loss", [0.5] * len(epochs)), Series(F1, "F1", [50.0] * len(epochs))]
    data = learning_picture([("epoch", epochs)], series, "run", "png")
    assert data.startswith(BEGINNINGS["png"])


def bundle(name, metric, *lines):
    means = lines[0] if lines else []
    both = {"lines": (lines, lines), "means": (means, means)}
    return Bundle(name=name, metric=metric, items="characters", **both)


LINES = ([(1, 9.0), (2, 5.0)], [(1, 8.0), (2, 6.0)])
BUNDLES = [bundle("A: 分 $x$", PERPLEXITY, *LINES), bundle("B", PERPLEXITY, [(1, 7.0)])]


@pytest.mark.parametrize("kind", KINDS)
def test_bundles_picture_is_a_whole_file(kind):
    data = bundles_picture([*BUNDLES, bundle("C", ACCURACY)], "run", kind)
    assert data.startswith(BEGINNINGS[kind])
    assert bundles_picture([bundle("C", ACCURACY)], "run", kind).startswith(BEGINNINGS[kind])


def test_each_group_has_a_colour_thin_seeds_and_a_thick_mean():
    figure = Figure()
    _draw_bundles(figure, BUNDLES, "run")
    for axes, label in zip(figure.axes, ("characters seen", "seconds"), strict=True):
        assert axes.get_xlabel() == label
        first, second, mean, single, _ = axes.get_lines()
        assert first.get_color() == second.get_color() == mean.get_color() != single.get_color()
        assert first.get_linewidth() == second.get_linewidth() < mean.get_linewidth()
        assert [tuple(point) for point in second.get_xydata()] == LINES[1]
    assert [text[:2] for text in legend(figure.axes[0])] == ["A:", "B"]
