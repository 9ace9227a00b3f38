"""A comparison of groups of runs in words, in tables and as JSON."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from charlm.report.groups import Comparison, Group
from charlm.report.spread import CONFIDENCE
from charlm.task import Metric, Report, Table, samples_by_prefix

METHOD = (
    f"intervals: Welch's for the difference of two means, {CONFIDENCE:.0%} for all pairs together; "
    "they are about other seeds, not about other texts"
)


def comparison_report(comparison: Comparison) -> Report:
    """The groups as a table, what can be said about their order, and the last samples."""
    sentences = comparison_words(comparison)
    samples = last_samples(comparison)
    content = {
        "groups": [_group_json(comparison, group) for group in comparison.groups],
        "differences": [
            _difference_json(comparison, *pair) for pair in combinations(comparison.ranked, 2)
        ],
        "conclusions": sentences,
        "samples": samples,
    }
    tables = [group_table(comparison), *(sample_table(each) for each in samples)]
    blocks: list[str | Table] = ["", tables[0], "", *sentences]
    for table in tables[1:]:
        blocks += ["", table]
    return Report(content=content, blocks=blocks)


def comparison_words(comparison: Comparison) -> list[str]:
    """What the spreads say about the order of the groups, one sentence each."""
    words = [
        f"the run {run.folder.name} has the same settings and seed as {counted.folder.name}, so "
        "it is not counted"
        for group in comparison.groups
        for run in group.runs
        if (counted := group.by_seed.get(run.config.training.seed, (run, 0.0))[0]) is not run
    ]
    words += [
        f"the training of {run.folder.name} has not ended: its metric so far is used"
        for run in comparison.unfinished
    ]
    if comparison.split == "train" and any(group.spread.values for group in comparison.groups):
        words.append("no run has a validation split, so the metric is that of the training batches")
    if not comparison.comparable or len(comparison.groups) < 2:
        return words
    metric = comparison.metric(comparison.tasks[0])
    words += [_pair_words(comparison, metric, *pair) for pair in pairwise(comparison.ranked)]
    single = [group.name for group in comparison.groups if len(group.spread.values) == 1]
    if single:
        one = len(single) == 1
        words.append(
            f"{_listed(single)} {'has' if one else 'have'} one seed{'' if one else ' each'}: the "
            f"spread is unknown, so {'it is' if one else 'they are'} not ranked; train "
            f"{'it' if one else 'them'} again with another --seed"
        )
    unmeasured = [group.name for group in comparison.groups if not group.spread.values]
    if unmeasured:
        words.append(f"the metric of {_listed(unmeasured)} was not measured")
    if len(comparison.ranked) > 1:
        words.append(METHOD)
    return words


def _pair_words(comparison: Comparison, metric: Metric, one: Group, other: Group) -> str:
    ahead = comparison.ahead(one, other)
    low, high = (_number(metric, ahead.mean + each) for each in (-ahead.margin, ahead.margin))
    interval = f"interval {low} to {high}"
    if ahead.is_shown:
        by = _number(metric, ahead.mean)
        return f"{one.name} is better than {other.name} by {by} ({interval})"
    return (
        f"{one.name} and {other.name} differ by {_number(metric, ahead.mean)}, which is within the "
        f"spread of their seeds ({interval}): no difference is shown"
    )


def _number(metric: Metric, value: float) -> str:
    return metric.text(value).replace("%", " points")


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def group_table(comparison: Comparison) -> Table:
    """A row for each group: its settings, and the spread of the metric over the seeds.

    "sd" is the standard deviation, with N - 1 below; a rank such as 1-2 says that no difference is
    shown between two groups.
    """
    rows = []
    for group, rank in zip(comparison.groups, comparison.ranks, strict=True):
        metric, spread = comparison.metric(group.runs[0].task), group.spread
        ends = (min(spread.values), max(spread.values)) if spread.values else (None, None)
        numbers = (spread.mean, spread.deviation, *ends)
        cells = (group.name, group.label, str(len(spread.values)), *map(metric.text, numbers))
        rows.append((*cells, rank_text(rank)))
    header = ("group", "settings", "seeds", f"mean {comparison.title}", "sd", "min", "max", "rank")
    return Table(header, rows, left=2)


def rank_text(rank: tuple[int, int] | None) -> str:
    """A rank as text: 1, 1-3, or a dash for None."""
    if rank is None:
        return "-"
    best, worst = rank
    return str(best) if best == worst else f"{best}-{worst}"


def last_samples(comparison: Comparison) -> list[dict[str, Any]]:
    """The last sample of each run, by prefix."""
    found: dict[str, list[dict[str, str]]] = {}
    for group in comparison.groups:
        for run in group.runs:
            for sample in samples_by_prefix(run.samples):
                about = {"group": group.name, "run": str(run.folder), "text": sample["text"]}
                found.setdefault(sample["prefix"], []).append(about)
    return [{"prefix": prefix, "samples": samples} for prefix, samples in found.items()]


def sample_table(samples: dict[str, Any]) -> Table:
    """The last samples of a prefix side by side: those of the first run of each group."""
    rows: dict[str, tuple[str, str, str]] = {}
    for each in samples["samples"]:
        text = each["text"].replace("\n", "⏎")
        rows.setdefault(each["group"], (each["group"], Path(each["run"]).name, text))
    prefix = samples["prefix"].replace("\n", "⏎")
    return Table(("group", "run", f"sample after {prefix!r}"), [*rows.values()], left=3)


def _group_json(comparison: Comparison, group: Group) -> dict[str, Any]:
    spread, task = group.spread, group.runs[0].task
    rank = comparison.ranks[comparison.groups.index(group)]
    return {
        "group": group.name,
        "settings": dict(group.settings),
        "runs": [str(run.folder) for run in group.runs],
        "seeds": [run.config.training.seed for run in group.runs],
        "metric": comparison.metric(task).key(comparison.split),
        "values": list(group.values),
        "mean": spread.mean,
        "standard_deviation": spread.deviation,
        "min": min(spread.values, default=None),
        "max": max(spread.values, default=None),
        "rank": None if rank is None else list(rank),
    }


def _difference_json(comparison: Comparison, one: Group, other: Group) -> dict[str, Any]:
    ahead = comparison.ahead(one, other)
    return {
        "groups": [one.name, other.name],
        "better_by": ahead.mean,
        "interval": [ahead.mean - ahead.margin, ahead.mean + ahead.margin],
        "shown": ahead.is_shown,
    }
