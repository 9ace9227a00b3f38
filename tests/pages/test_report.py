"""The page of a run in Chromium."""

from __future__ import annotations

import re
import time

import pytest

from charlm.pages import CHARTS, page

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\u2028时间"


def run(name="a run", **changes):
    """What `charlm.report.run_page` gives the page."""
    reports = 12
    curve = [40 / (n + 1) + 3 for n in range(reports)]
    line = {"bits": "", "logarithmic": False, "score": False, "lines": []}
    return {
        "name": name,
        "state": "complete",
        "about": "The training is complete.",
        "drawn": round(time.time()),
        "unit": "characters",
        "headline": [["valid perplexity", "5.123", "best"], ["time", "1:02", "12 epochs"]],
        "meaning": "Lower is better.",
        "notices": [],
        "words": ["The model is better than an n-gram."],
        "over": {
            "characters seen": [1000 * (n + 1) for n in range(reports)],
            "time": [7.5 * (n + 1) for n in range(reports)],
            "epochs": [n + 1 for n in range(reports)],
        },
        "charts": [
            {
                **{"title": "perplexity", "bits": "bits per character", "logarithmic": True},
                **{"score": True, "lines": [["n-gram", 5.0], ["character frequencies", 16.0]]},
                "series": [
                    {"label": "train", "values": curve},
                    {"label": "valid", "values": [None, *(value + 1 for value in curve[1:])]},
                    {"label": "never measured", "values": [None] * reports},
                ],
            },
            {**line, "title": "learning rate", "series": [{"label": "lr", "values": curve}]},
        ],
        "samples": {
            "shown": "",
            "sets": [
                {"when": f"after {n} epochs", "texts": [["The ", f"text {n}"], ["时间", "旅行"]]}
                for n in range(1, 6)
            ],
        },
        "facts": [["The run", [["task", "language-model"]]], ["The data", [["name", "x"]]]],
        "data": ["Some words.", {"header": ["a", "b"], "rows": [["c", "1"]], "left": 1}],
        "copies": [{"header": ["", "this text"], "rows": [["windows", "1%"]], "left": 1}],
        "settings": [
            ["model", [["cell", "gru", "option", "The cell."], ["skip", "no", "default", "Skip."]]]
        ],
        **changes,
    }


@pytest.fixture
def file(tmp_path):
    def write(*runs):
        path = tmp_path / "report.html"
        scripts, styles = [*CHARTS, "report.js"], ["uplot/uPlot.min.css"]
        path.write_bytes(
            page("report.html", title="t", data={"runs": runs}, scripts=scripts, styles=styles)
        )
        return path

    return write


def texts(shown):
    return shown.locator("#runs .text").all_inner_texts()


def test_samples_are_on_a_slider_that_keys_move(visit, file):
    shown = visit(file(run()))
    assert texts(shown) == ["The text 5", "时间旅行"]
    shown.locator("input[type=range]").focus()
    shown.keyboard.press("ArrowLeft")
    assert texts(shown)[0] == "The text 4"
    shown.keyboard.press("Home")
    assert texts(shown)[0] == "The text 1"
    assert shown.locator("output").inner_text() == "after 1 epochs"
    assert shown.locator("input").get_attribute("aria-valuetext") == "after 1 epochs"


def test_curves_over_characters_time_or_epochs_as_perplexity_or_bits(visit, file):
    shown = visit(file(run()))
    chart = shown.locator(".chart").first
    legend = chart.locator(".u-legend")
    assert "never measured" not in legend.inner_text()
    assert re.search(
        r"characters seen\W*12,000\W*train\W*6.333\W*valid\W*7.333", legend.inner_text()
    )
    shown.get_by_role("button", name="time").click()
    assert re.search(r"time\W*1:30", legend.inner_text())
    shown.get_by_role("button", name="bits per character").click()
    assert chart.get_attribute("aria-label") == "bits per character"
    assert re.search(r"train\W*2.663", legend.inner_text())
    shown.reload()  # what was chosen is kept
    assert chart.get_attribute("aria-label") == "bits per character"
    assert re.search(r"time\W*1:30", legend.inner_text())


def paused(shown):
    """Load a page again, with a clock that goes on only when it is told to."""
    shown.clock.install()
    shown.clock.pause_at(time.time() + 1)
    shown.reload()


def test_the_page_of_a_running_training_shows_news_and_stops_at_the_end(visit, file):
    path = file(run(state="training"))
    shown = visit(path)
    paused(shown)
    slider = shown.locator("input[type=range]")
    slider.focus()
    shown.keyboard.press("Home")
    file(run(state="training", words=["News."]))
    with shown.expect_navigation():
        shown.clock.run_for(6000)
    assert shown.locator("li").all_inner_texts() == ["News."]
    assert texts(shown)[0] == "The text 1"  # the slider keeps its place
    slider.focus()
    shown.keyboard.press("End")
    sets = [*run()["samples"]["sets"], {"when": "now", "texts": [["The ", "newest"]]}]
    file(run(samples={"shown": "", "sets": sets}))
    with shown.expect_navigation():
        shown.clock.run_for(6000)
    assert texts(shown) == ["The newest"]  # at the end, it stays at the end
    shown.evaluate("window.same = true")
    shown.clock.run_for(100_000)
    assert shown.evaluate("window.same")


@pytest.mark.parametrize(
    ("age", "seconds", "again"), [(600, 50, False), (600, 70, True), (90_000, 10_000, False)]
)
def test_an_old_page_of_a_killed_training_is_loaded_less_and_less(visit, file, age, seconds, again):
    shown = visit(file(run(state="training", drawn=round(time.time()) - age)))
    paused(shown)
    shown.evaluate("window.same = true")
    if again:
        with shown.expect_navigation():
            shown.clock.run_for(1000 * seconds)
    else:
        shown.clock.run_for(1000 * seconds)
        assert shown.evaluate("window.same")


def test_whatever_a_run_holds_stays_text(visit, file):
    hostile = run(
        name=HOSTILE,
        meaning=HOSTILE,
        words=[HOSTILE],
        notices=[HOSTILE],
        headline=[[HOSTILE] * 3],
        samples={"shown": HOSTILE, "sets": [{"when": HOSTILE, "texts": [[HOSTILE, HOSTILE]]}]},
        facts=[[HOSTILE, [[HOSTILE, HOSTILE]]]],
        data=[HOSTILE, {"header": [HOSTILE], "rows": [[HOSTILE]], "left": 1}],
        settings=[[HOSTILE, [[HOSTILE] * 4]]],
    )
    hostile["charts"][0]["series"][0]["label"] = HOSTILE
    hostile["charts"][0]["lines"] = [[HOSTILE, 5.0]]
    hostile["over"] = {HOSTILE: [*range(12)], "epochs": [*range(12)]}
    shown = visit(file(hostile, hostile))
    assert shown.locator("#runs img").count() == 0
    assert shown.locator("h1").first.inner_text().startswith("</script><img")
    assert shown.locator("nav a").count() == 2


def test_a_run_without_reports_and_samples(visit, file):
    empty = run(
        over={"characters seen": [], "time": [], "epochs": []},
        samples={"shown": "", "sets": []},
        copies=[],
        data=[],
    )
    shown = visit(file(empty))
    words = shown.locator("#runs").inner_text()
    assert "The training has not reported anything yet." in words
    assert "Samples" not in words
    assert "Copies" not in words


def test_one_report_is_a_point(visit, file):
    one = run()
    one["over"] = {key: values[:1] for key, values in one["over"].items()}
    for chart in one["charts"]:
        for series in chart["series"]:
            series["values"] = series["values"][:1]
    shown = visit(file(one))
    assert re.search(r"train\W*43", shown.locator(".u-legend").first.inner_text())


@pytest.mark.slow
def test_the_page_on_desktop_and_phone(picture, file):
    picture(file(run()), "report")
