"""The page of a sweep."""

from __future__ import annotations

import pytest

from charlm.report.sweep_page import sweep_page
from charlm.report.sweep_plots import Searched, Trials
from charlm.task import Metric, Table

TRIALS = Trials(
    metric=Metric(name="perplexity", bits="bits per character"),
    numbers=[0, 1, 2, 3, 4],
    values=[7.2, 5.9, 9.3, 5.1, 5.4],
    complete=[True, True, False, True, True],
    curves=[
        [(0.4, 9.0), (0.7, 8.0), (1.0, 7.2)],
        [(0.4, 7.0), (0.7, 6.0), (1.0, 5.9)],
        [(0.4, 9.3)],
        [(0.4, 6.8), (0.7, 5.6), (1.0, 5.1)],
        [(0.4, 7.3), (1.0, 5.4)],
    ],
    searched=[
        Searched(name="lr", places=[0.003, 0.01, 0.002, 0.02, 0.03], log=True),
        Searched(name="hidden_size", places=[128, 256, 128, 320, 384]),
        Searched(name="cell", places=[0, 1, 0, 2, 1], choices=["rnn", "gru", "$lstm <b>"]),
    ],
)
TABLE = Table(
    ("trial", "", "valid perplexity", "lr", "hidden_size", "cell"),
    [
        (str(number), "complete" if done else "pruned", str(value), "0.01", "128", "gru")
        for number, value, done in zip(TRIALS.numbers, TRIALS.values, TRIALS.complete, strict=True)
    ],
    left=2,
)


@pytest.fixture
def made(tmp_path):
    def make(name="timemachine"):
        file = tmp_path / "sweep.html"
        words = ["5 trials of 5: 4 complete, 1 pruned", f"best: trial 3; run sweeps/{name}"]
        file.write_bytes(sweep_page(TRIALS, name, words, TABLE))
        return file

    return make


def test_picture_and_table(visit, made):
    name = "</script><b>"
    shown = visit(made(name))
    assert shown.locator("h1").inner_text() == f"Sweep {name}"
    assert shown.locator("#words p").count() == 2
    assert shown.locator("#trials tbody tr").count() == 5
    assert shown.evaluate("document.querySelector('img').naturalWidth") > 400
    assert shown.locator("main b").count() == 0


def test_the_page_on_desktop_and_phone(picture, made):
    picture(made(), "sweep")
