"""Groups of runs with equal settings, what is said about them, and their mean curves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from charlm.report.bundles import bundles, mean_line, time_axis
from charlm.report.comparison import comparison_report, rank_text
from charlm.report.groups import compare
from charlm.task import Table
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.classification import CLASSIFICATION

DATA = {"name": "novel", "source": "/a/novel.txt", "sha256": "1f", "split": [80, 10, 10]}


def run(name, *, corpus=DATA, task=LANGUAGE_MODEL, metrics=(), samples=(), **settings):
    words = [f"{key}={value}" for key, value in settings.items()]
    config = task.config_type.from_settings([task.config_type.settings_from_assignments(words)])
    return SimpleNamespace(
        **{"folder": Path("checkpoints", name), "config": config, "task": task, "corpus": corpus},
        **{"metrics": [*metrics], "samples": [*samples]},
    )


def compared(runs, values, split="valid", *, ended=True):
    rows = []
    for each, value in zip(runs, values, strict=True):
        keys = each.task.metric_keys
        rows.append({**dict.fromkeys(keys), keys[split == "valid"]: value, "ended": ended})
    return compare(runs, rows)


def words(comparison):
    return comparison_report(comparison).content["conclusions"]


def seeds(name, count, **settings):
    return [run(f"{name}{seed}", seed=seed, **settings) for seed in range(count)]


def test_only_the_seed_and_other_incidental_settings_may_differ_in_a_group():
    moved = {**DATA, "name": "copy", "source": "/b/copy.txt"}
    same = [
        run("a"),
        run("b", seed=1, save_minutes=3, sample_length=7, prefixes="x", corpus=moved),
        run("c", seed=2, beta1=0.5, optimiser="sgd"),
        run("d", seed=3, beta1=0.6, optimiser="sgd"),  # sgd has no beta1
    ]
    found = compared(same, [3.0, 3.1, 2.0, 2.1])
    assert [[each.folder.name for each in group.runs] for group in found.groups] == [
        ["c", "d"], ["a", "b"],
    ]  # fmt: skip
    best, other = found.groups
    assert (best.name, best.title) == ("A", "A: optimiser=sgd")
    assert other.settings == {"training.optimiser": "adamw"}
    assert found.group_of(same[1]) is other


@pytest.mark.parametrize("key", ["hidden_size", "lr", "epochs", "batch_size", "max_chars"])
def test_other_settings_make_other_groups(key):
    runs = [run("a", **{key: 3}), run("b", **{key: 4})]
    assert len(compared(runs, [1.0, 2.0]).groups) == 2


def test_groups_within_the_spread_of_their_seeds_are_not_ranked():
    runs = seeds("gru", 3, cell="gru") + seeds("lstm", 3, cell="lstm") + seeds("rnn", 3, cell="rnn")
    found = compared(runs, [5.0, 5.2, 5.1, 5.15, 5.0, 5.3, 9.0, 9.1, 9.2])
    report = comparison_report(found)
    gru, lstm, rnn = report.content["groups"]
    assert [group["rank"] for group in (gru, lstm, rnn)] == [[1, 2], [1, 2], [3, 3]]
    assert (gru["mean"], gru["min"], gru["max"]) == (pytest.approx(5.1), 5.0, 5.2)
    assert (gru["standard_deviation"], gru["values"]) == (pytest.approx(0.1), [5.0, 5.2, 5.1])
    assert (gru["settings"], gru["seeds"]) == ({"model.cell": "gru"}, [0, 1, 2])
    same, shown, method = report.content["conclusions"]
    assert same.startswith("A and B differ by 0.050, which is within the spread of their seeds")
    assert same.endswith("no difference is shown")
    assert shown.startswith("B is better than C by 3.950 (interval ")
    assert "Welch" in method
    first, _, last = report.content["differences"]
    assert (first["groups"], first["shown"]) == (["A", "B"], False)
    assert first["interval"][0] < 0 < first["interval"][1]
    assert (last["groups"], last["shown"]) == (["B", "C"], True)
    table = next(block for block in report.blocks if isinstance(block, Table))
    assert table.rows[0] == ("A", "cell=gru", "3", "5.100", "0.100", "5.000", "5.200", "1-2")


def test_more_is_better_where_the_metric_says_so():
    runs = [run(f"{cell}{seed}", task=CLASSIFICATION, cell=cell, seed=seed)
            for cell in ("gru", "lstm") for seed in range(2)]  # fmt: skip
    found = compared(runs, [70.0, 71.0, 90.0, 90.5])
    assert [group.settings["model.cell"] for group in found.groups] == ["lstm", "gru"]
    assert words(found)[0].startswith("A is better than B by 19.75 points (interval ")


def test_a_single_seed_has_no_rank_and_no_spread():
    runs = [*seeds("gru", 2, cell="gru"), run("rnn", cell="rnn"), run("lstm", cell="lstm")]
    found = compared(runs, [5.0, 5.1, 4.0, 4.5])
    assert found.ranks == [None, None, (1, 1)]
    assert words(found) == [
        "A and B have one seed each: the spread is unknown, so they are not ranked; train them "
        "again with another --seed"
    ]
    (sentence,) = words(compared(runs[1:3], [5.0, 4.0]))
    assert sentence.startswith("A and B have one seed each")
    assert words(compared(runs[:2], [5.0, 5.1])) == []


def test_a_run_with_the_seed_of_another_counts_once():
    runs = [run("a", seed=1), run("b", seed=1), run("c", seed=2)]
    found = compared(runs, [5.0, 5.0, 6.0])
    assert found.groups[0].spread.values == [5.0, 6.0]
    assert words(found) == ["the run b has the same settings and seed as a, so it is not counted"]
    assert compared([runs[1], runs[1]], [5.0, 5.0]).groups[0].spread.values == [5.0]


def test_a_training_that_has_not_ended_is_named():
    assert words(compared([run("a"), run("b", seed=1)], [5.0, 6.0], ended=False)) == [
        f"the training of {name} has not ended: its metric so far is used" for name in "ab"
    ]


@pytest.mark.parametrize("change", [{"sha256": "2e"}, {"split": [50, 25, 25]}])
def test_other_data_or_splits_are_not_ranked(change):
    runs = seeds("a", 2) + [
        run(f"b{seed}", seed=seed, corpus={**DATA, **change}) for seed in (0, 1)
    ]
    found = compared(runs, [9.0, 9.1, 5.0, 5.1])
    assert (found.comparable, found.ranks) == (False, [None, None])
    assert [group.spread.mean for group in found.groups] == pytest.approx([9.05, 5.05])
    assert words(found) == []
    assert not compared([run("a"), run("b", task=CLASSIFICATION)], [1.0, 2.0]).comparable


def test_without_a_validation_split_the_training_metric_counts():
    found = compared(seeds("a", 2), [5.0, 5.1], split="train")
    assert (found.split, found.title) == ("train", "train perplexity")
    assert "no run has a validation split" in words(found)[0]
    found = compared([*seeds("a", 2), run("b", cell="rnn")], [5.0, None, None])
    assert words(found)[-1] == "the metric of B was not measured"
    assert [group.spread.mean for group in found.groups] == [5.0, None]


def test_labels_are_short_and_names_do_not_end():
    first = run("0", from_run="x" * 90, lr=1, hidden_size=9, num_layers=3, batch_size=7, cell="rnn")
    runs = [first, *(run(str(n), lr=n / 10) for n in range(1, 30))]
    found = compared(runs, range(30))
    assert len(found.groups[0].label) < 150
    assert found.groups[0].label.endswith(", 2 more")
    assert len(found.groups[0].settings) == 6
    assert [found.groups[place].name for place in (25, 26, 27)] == ["Z", "A2", "B2"]


def test_the_last_sample_of_each_prefix_side_by_side():
    def wrote(name, **settings):
        texts = [("time", "time a"), ("分", "分\n开"), ("time", f"time of {name}")]
        samples = [{"epoch": 1, "prefix": prefix, "text": text} for prefix, text in texts]
        return run(name, samples=samples, **settings)

    runs = [wrote("a"), wrote("b", seed=1), wrote("c", cell="rnn")]
    report = comparison_report(compared(runs, [1.0, 2.0, 3.0]))
    time, other = report.content["samples"]
    assert (time["prefix"], other["prefix"]) == ("time", "分")
    assert [sample["text"] for sample in time["samples"]] == [f"time of {name}" for name in "abc"]
    tables = [block for block in report.blocks if isinstance(block, Table)][1:]
    assert tables[0].rows == [("A", "a", "time of a"), ("B", "c", "time of c")]
    assert tables[1].rows[0] == ("A", "a", "分⏎开")
    assert rank_text((2, 2)) == "2"


def test_the_mean_of_curves_is_taken_where_all_are_defined():
    lines = [[(0, 4.0), (2, 2.0), (4, 0.0)], [(1, 7.0), (3, 5.0), (5, 5.0)]]
    assert mean_line(lines) == [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.5)]
    assert mean_line(lines[:1]) == lines[0]
    assert mean_line([]) == mean_line([[(0, 1.0)], [(1, 1.0)]]) == []


def test_bundles_leave_out_what_was_not_measured():
    keys = ("characters", "seconds", "train_perplexity", "valid_perplexity")
    reports = [(0, 0.0, None, None), (10, 150.0, 9.0, 8.0), (20, 300.0, 6.0, 5.0)]
    metrics = [dict(zip(keys, values, strict=True)) for values in reports]
    runs = [run("a", metrics=metrics), run("b", cell="rnn")]
    first, second = bundles(compared(runs, [5.0, None]))
    assert (first.items, first.has_data) == ("characters", True)
    assert first.lines == ([[(10, 8.0), (20, 5.0)]], [[(150.0, 8.0), (300.0, 5.0)]])
    assert first.means == ([(10, 8.0), (20, 5.0)], [(150.0, 8.0), (300.0, 5.0)])
    assert (second.has_data, second.means) == (False, ([], []))
    assert [time_axis([most])[0] for most in (119, 120, 7199, 7200)] == [
        "seconds", "minutes", "minutes", "hours",
    ]  # fmt: skip
    assert time_axis([]) == ("seconds", 1)
