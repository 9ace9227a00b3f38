"""report.html in a run folder: what it has, when it is drawn, and that it never harms."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from dataclasses import replace

import pytest
import torch

from charlm.errors import RunError, TrainingError
from charlm.report import run_page as module
from charlm.report.run_page import FILE, RunState, run_page, thinned, without_home
from charlm.runs import Run
from charlm.task import DataFacts
from charlm.training import Finished, Noticed, Started, run_report, train
from charlm.training.run_report import state_of
from charlm.training.summary import score_test_split, write_summary

CPU = torch.device("cpu")


def runs_of(page: bytes) -> list[dict]:
    """The data of a page."""
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])["runs"]


def read(run: Run) -> dict:
    (content,) = runs_of((run.folder / FILE).read_bytes())
    return content


def finish(run, corpus, should_stop=lambda: False):
    """Train and write the end of it, as the commands do."""
    events = [*train(run, corpus, device=CPU, should_stop=should_stop)]
    started = next(event for event in events if isinstance(event, Started))
    finished = next(event for event in events if isinstance(event, Finished))
    scores = score_test_split(run, corpus, CPU, finished, should_stop)
    return write_summary(run, corpus, started, finished, scores)


@pytest.fixture
def always(monkeypatch):
    """Draws at each report."""
    monkeypatch.setattr(run_report, "FIRST", 0.0)
    monkeypatch.setattr(run_report, "DRAWING", 1e9)


def test_the_report_of_each_task(small):
    run = small.new_run()
    summary, about = finish(run, small.corpus)
    assert not about.warnings
    page, task = read(run), small.task
    assert (page["name"], page["state"]) == (run.folder.name, "complete")
    assert [*page["over"]] == [f"{task.unit} seen", "time", "epochs"]
    assert page["over"]["epochs"][-1] == 3
    assert page["over"][f"{task.unit} seen"] == [row[task.unit] for row in run.metrics]
    charts = {chart["title"]: chart for chart in page["charts"]}
    same = task.train_metric == task.valid_metric
    assert sum(chart["score"] for chart in page["charts"]) == (1 if same else 2)
    shown = page["charts"][0 if same else 1]
    values = {series["label"]: series["values"] for series in shown["series"]}
    expected = [row[task.metric_keys[1]] for row in run.metrics]
    assert values["valid"] == pytest.approx(expected, rel=1e-5)
    assert all(value > 0 for _, value in shown["lines"])
    names = [name for name, _ in shown["lines"]]
    assert (
        names
        == {
            "language-model": ["character frequencies", "n-gram"],
            "classify": ["always 'bad'"],
            "tag": ["the most frequent tag of each word"],
        }[task.name]
    )
    assert charts["gradient norm before clipping"]["lines"] == [["clipping threshold", 1.0]]
    assert charts["learning rate"]["series"][0]["values"] == pytest.approx(
        [row["learning_rate"] for row in run.metrics], rel=1e-5
    )
    text = task.valid_metric.text(summary[task.metric_keys[1]])
    assert page["headline"][0][:2] == [task.valid_metric.title("valid"), text]
    assert {section for section, _ in page["settings"]} == {"corpus", "model", "training"}
    assert page["data"]
    if task.has_samples:
        assert len(page["samples"]["sets"]) == 3
        assert page["samples"]["sets"][-1]["texts"] == [["The ", run.samples[-1]["text"][4:]]]
        assert page["copies"][1]["header"] == ["", "this text", "valid split"]
    # The command draws the same page from the folder.
    drawn = runs_of(run_page([state_of(Run.open(run.folder), small.corpus)]))[0]
    assert {**drawn, "drawn": 0} == {**page, "drawn": 0}


def test_where_settings_came_from(make_small, tmp_path):
    small = make_small("language-model")
    config = small.new_run().config
    sources = {"preset": {"training": {"lr": 0.02}}, "option": {"training": {"epochs": 3}}}
    origins = config.origins(sources, config)
    run = Run.create(tmp_path / "new", config, small.corpus, origins)
    finish(run, small.corpus)
    opened = Run.open(run.folder)
    assert opened.origins == origins

    def found(run: Run) -> dict[str, str]:
        (state,) = runs_of(run_page([state_of(run, None)]))
        rows = dict(state["settings"])["training"]
        return {key: origin for key, _, origin, _ in rows}

    assert {key: found(opened)[key] for key in ("lr", "epochs", "minutes", "beta1")} == {
        **{"lr": "preset", "epochs": "option"},
        **{"minutes": "option", "beta1": "default"},  # --epochs unsets the minutes
    }
    longer = replace(opened.config, training=replace(opened.config.training, epochs=4))
    opened.change(longer)
    finish(opened, small.corpus)
    resumed = Run.open(run.folder)
    assert (found(resumed)["epochs"], found(resumed)["lr"]) == ("resume", "preset")
    older = small.new_run()  # without origins
    assert "origins" not in json.loads((older.folder / "run.json").read_text())
    assert (found(older)["lr"], found(older)["beta1"]) == ("-", "default")


@pytest.mark.parametrize("wrong", [5, {"corpus": {}}, {"model": 1}, {"training": {"lr": "a\nb"}}])
def test_damaged_origins_are_refused(make_small, wrong):
    run = make_small("language-model").new_run()
    path = run.folder / "run.json"
    about = json.loads(path.read_text())
    sections = {name: dict.fromkeys(values, "default") for name, values in about["config"].items()}
    whole = {**sections, **wrong} if isinstance(wrong, dict) else wrong
    if isinstance(wrong, dict) and "training" in wrong:
        whole["training"] = sections["training"] | wrong["training"]
    path.write_text(json.dumps({**about, "origins": sections}))
    assert Run.open(run.folder).origins == sections
    path.write_text(json.dumps({**about, "origins": whole}))
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        Run.open(run.folder)


# While a training runs


def test_it_is_drawn_at_each_report_and_says_when_the_training_ended(always, make_small):
    small = make_small("language-model")
    run, states = small.new_run(), []
    for event in train(run, small.corpus, device=CPU):
        if (run.folder / FILE).exists() and not isinstance(event, Finished):
            page = read(run)
            states.append((page["state"], len(page["over"]["epochs"])))
    reports = len(run.metrics)
    assert [*dict.fromkeys(states)] == [("training", n + 1) for n in range(reports - 1)]
    page = read(run)
    assert (page["state"], page["charts"][0]["lines"] != []) == ("complete", True)


def test_a_short_training_draws_nothing_before_its_end(make_small):
    small = make_small("language-model")
    run = small.new_run()
    assert [*train(run, small.corpus, device=CPU)]
    assert not (run.folder / FILE).exists()


def test_drawing_takes_a_small_share_of_the_time(make_small, monkeypatch):
    """The second drawing waits until the first is 2% of the time since then."""
    small, now = make_small("language-model"), [1000.0]
    run = small.new_run()
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    drawn = []

    def draw(states):
        drawn.append(now[0])
        now[0] += 0.5  # a slow disk
        return b""

    monkeypatch.setattr(run_report, "run_page", draw)
    for event in train(run, small.corpus, device=CPU):
        if not isinstance(event, Started | Finished):
            now[0] += 1
    assert drawn
    gaps = [after - before for before, after in itertools.pairwise(drawn[:-1])]
    assert all(gap >= 0.5 / run_report.DRAWING for gap in gaps)


@pytest.mark.parametrize("stop", ["asked", "closed", "loss"])
def test_a_page_of_a_training_that_was_cut_short_says_so(always, make_small, monkeypatch, stop):
    small = make_small("language-model")
    run, asked = small.new_run(), []
    events = train(run, small.corpus, device=CPU, should_stop=lambda: bool(asked))
    for event in events:
        if (run.folder / FILE).exists() and not isinstance(event, Finished):
            if stop == "asked":
                asked.append(True)
            elif stop == "closed":
                events.close()
            else:
                monkeypatch.setattr(small.objective, "loss", _not_a_number)
                with pytest.raises(TrainingError):
                    list(events)
                break
    assert read(run)["state"] == ("failed" if stop == "loss" else "interrupted")


def _not_a_number(self, model, batch, state):
    return model.head.weight.sum() * math.nan, 1, state


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a bug")])
def test_a_report_that_fails_is_told_once_and_stops_nothing(always, make_small, error, monkeypatch):
    small = make_small("language-model")
    run = small.new_run()

    def fail(*arguments):
        raise error

    broken = "charlm.runs.files.write_atomic" if isinstance(error, OSError) else None
    if broken is None:
        monkeypatch.setattr(run_report, "run_page", fail)
    else:
        from charlm.atomic_files import write_atomic

        monkeypatch.setattr(
            broken, lambda path, data: (fail if path.name == FILE else write_atomic)(path, data)
        )
    events = [*train(run, small.corpus, device=CPU)]
    warnings = [each.text for each in events if isinstance(each, Noticed) and each.warning]
    assert len(warnings) == 1
    assert str(error.args[-1]) in warnings[0]
    assert run.metrics[-1]["epoch"] == 3
    _, about = finish(run, small.corpus)
    assert len(about.warnings) == 1
    assert (run.folder / "summary.json").exists()


def test_the_weights_are_those_of_a_training_without_reports(make_small, monkeypatch):
    small = make_small("language-model")
    plain, drawn = small.new_run(), small.new_run()
    finish(plain, small.corpus)
    monkeypatch.setattr(run_report, "FIRST", 0.0)
    monkeypatch.setattr(run_report, "DRAWING", 1e9)
    finish(drawn, small.corpus)
    for name in ("last", "best"):
        weights = drawn.read_weights(name)
        for key, tensor in plain.read_weights(name).items():
            assert torch.equal(tensor, weights[key])


# Size and content


def test_a_long_training_makes_a_page_under_two_megabytes(make_small, always):
    small = make_small("language-model")
    run = small.new_run()
    finish(run, small.corpus)
    row = {**run.metrics[-1], "train_perplexity": 1.2345678901, "gradient_norm": 1 / 3}
    many = [{**row, "epoch": n + 1, "characters": 10**9 + n, "seconds": n / 7} for n in range(9999)]
    texts = [
        {"epoch": n + 1, "prefix": "时间", "text": "时间" + "旅行者\n" * 2000} for n in range(3000)
    ]
    state = replace(state_of(run, small.corpus), metrics=many, samples=texts)
    for states in ([state], [state] * 7):
        page = run_page(states)
        assert len(page) < 2e6
        found = runs_of(page)[0]
        epochs = found["over"]["epochs"]
        assert (epochs[0], epochs[-1]) == (1, 9999)
        assert any(f"{len(epochs):,} of 9,999 reports" in words for words in found["words"])
        sets = found["samples"]["sets"]
        assert sets[0]["when"].startswith("after 1 epoch,")
        assert f"{len(sets)} of 3,000 sets and the first" in found["samples"]["shown"]
    few = [row["epoch"] for row in thinned(many, 3)]
    assert few == [1, 5000, 9999]


def test_numbers_that_are_not_finite_and_missing_ones(make_small):
    small = make_small("language-model")
    run = small.new_run()
    finish(run, small.corpus)
    state = state_of(run, None, ["no data"])
    rows = [{**row, "train_perplexity": math.inf, "gradient_norm": None} for row in run.metrics]
    (found,) = runs_of(run_page([replace(state, metrics=rows)]))
    assert found["charts"][0]["series"][0]["values"] == [None] * len(rows)
    assert (found["charts"][0]["lines"], found["notices"]) == ([], ["no data"])
    infinite = DataFacts(facts={}, baselines={"a": math.inf, "b": 2.0})
    (found,) = runs_of(run_page([replace(state, data=infinite, metrics=[], samples=[])]))
    assert found["charts"][0]["lines"] == [["b", 2.0]]
    assert found["over"]["epochs"] == []


def test_a_summary_of_an_earlier_part_of_the_training_does_not_count(make_small):
    small = make_small("language-model")
    run = small.new_run()
    finish(run, small.corpus)
    assert state_of(run, None).state == module.COMPLETE
    run.metrics[-1]["seconds"] += 100
    assert state_of(run, None).state == module.UNFINISHED
    assert isinstance(state_of(run, None), RunState)


def test_the_home_folder_is_not_named(monkeypatch, tmp_path):
    monkeypatch.setattr(module.Path, "home", lambda: tmp_path)
    assert without_home(f"{tmp_path}{os.sep}a.txt") == f"~{os.sep}a.txt"
    assert without_home("/other/a.txt") == "/other/a.txt"
