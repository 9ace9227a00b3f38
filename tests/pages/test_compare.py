"""The page that compares groups of runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from charlm.report.comparison_page import comparison_page
from charlm.report.groups import compare
from charlm.task import Table
from charlm.tasks import LANGUAGE_MODEL

NOVEL = {"name": "novel", "source": "/novel.txt", "sha256": "1f", "split": [80, 10, 10]}


def run(name, seed, best, text="the time", prefix="the", **settings):
    config = LANGUAGE_MODEL.config_type.from_settings([{"training": {"seed": seed}}, settings])
    metrics = [
        {"characters": 1000 * n, "seconds": 30.0 * n + seed, "valid_perplexity": best + 8 / n}
        for n in range(1, 9)
    ]
    about = {"folder": Path("checkpoints") / name, "config": config, "task": LANGUAGE_MODEL}
    samples = [{"epoch": 1, "prefix": prefix, "text": text}]
    return SimpleNamespace(**about, corpus=NOVEL, metrics=metrics, samples=samples)


@pytest.fixture
def made(tmp_path):
    """Writes the page of some runs."""

    def make(runs, values):
        about = {"train_perplexity": None, "ended": True}
        rows = [{**about, "valid_perplexity": value} for value in values]
        comparison = compare(runs, rows)
        table = Table(
            ("group", "run"), [(comparison.group_of(r).name, r.folder.name) for r in runs]
        )
        file = tmp_path / "compare.html"
        file.write_bytes(comparison_page(comparison, table, "a warning"))
        assert len(file.read_bytes()) < 300_000
        return file

    return make


def six(**about):
    return [
        run(f"{cell}-{seed}", seed, 4 + 0.1 * seed, model={"cell": cell}, **about)
        for cell in ("lstm", "gru")
        for seed in range(3)
    ]


VALUES = [5.0, 5.2, 5.1, 6.0, 6.2, 6.1]


def test_groups_curves_and_samples(visit, made):
    shown = visit(made(six(), VALUES))
    assert shown.locator("h1").inner_text() == "valid perplexity of 2 groups of runs"
    assert shown.locator("#groups tbody td").all_inner_texts()[:4] == [
        "A",
        "cell=lstm",
        "3",
        "5.100",
    ]
    words = shown.locator("#words p").all_inner_texts()
    assert words[0] == "Warning: a warning"
    assert words[1].startswith("A is better than B by 1.000")
    for chart in shown.locator("#curves .chart").all():  # over characters, and over time
        entries = chart.locator(".u-series:visible").all_inner_texts()
        assert [text[:1] for text in entries][1:] == ["A", "B"]
    assert shown.locator("#samples h3").all_inner_texts() == [
        "after the",
        "A: cell=lstm",
        "B: cell=gru",
    ]
    assert shown.locator("#samples .text").count() == 6
    assert shown.locator("#settings td").all_inner_texts() == ["model.cell", "lstm", "gru"]
    assert shown.locator("#runs tbody tr").count() == 6


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--<script>"]
)
def test_samples_and_names_stay_text(visit, made, text):
    runs = [run(f"{text}{seed}", seed, 4, text=text, prefix=text) for seed in (0, 1)]
    shown = visit(made(runs, [1.0, 2.0]))
    assert shown.locator("#samples .text").all_text_contents() == [text] * 2
    assert all(each.folder.name in shown.locator("#runs").inner_text() for each in runs)
    assert shown.locator("img, main script").count() == 0


def test_the_page_on_desktop_and_phone(picture, made):
    text = "时间旅行者向我们解释一个深奥的问题。\n" * 3
    picture(made(six(text=text, prefix="时间"), VALUES), "compare")
