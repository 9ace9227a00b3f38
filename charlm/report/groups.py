"""Runs in groups of equal settings: the spread over their seeds, and which group is better."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from charlm.config.settings import value_text
from charlm.report.run_page import without_home
from charlm.report.spread import Difference, Spread, count_pairs, difference, ranks
from charlm.task import Metric, Task

if TYPE_CHECKING:
    from charlm.runs import Run

_SETTINGS = 4  # settings in the label of a group
_VALUE = 24  # characters of a value there


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of equal data and settings: only the seed and other incidental settings may differ."""

    name: str  # A, B, ...
    label: str  # the settings that differ between the groups, in words; may be empty
    settings: Mapping[str, Any]  # the same by ``section.key``, without those that are idle
    runs: Sequence[Run]
    values: Sequence[float | None]  # the metric of each run; None: it was not measured

    @property
    def title(self) -> str:
        """Name and label."""
        return f"{self.name}: {self.label}" if self.label else self.name

    @cached_property
    def by_seed(self) -> dict[int, tuple[Run, float]]:
        """The first run of each seed whose metric was measured, and the metric."""
        found: dict[int, tuple[Run, float]] = {}
        for run, value in zip(self.runs, self.values, strict=True):
            if value is not None:
                found.setdefault(run.config.training.seed, (run, value))
        return found

    @cached_property
    def spread(self) -> Spread:
        """The spread of the metric over the seeds."""
        return Spread([value for _, value in self.by_seed.values()])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Groups of runs; where they are comparable, the one with the best mean comes first."""

    groups: Sequence[Group]
    split: str  # of the metric: valid, or train where no run has a validation split
    comparable: bool  # whether all runs have the same task, data and splits
    unfinished: Sequence[Run] = ()  # whose training has not ended

    @property
    def tasks(self) -> list[Task]:
        """The tasks of the runs."""
        return [*dict.fromkeys(group.runs[0].task for group in self.groups)]

    @property
    def title(self) -> str:
        """The metric, or the metrics, that are compared."""
        titles = dict.fromkeys(self.metric(task).title(self.split) for task in self.tasks)
        return " and ".join(titles)

    def metric(self, task: Task) -> Metric:
        """The metric of a task that is compared."""
        return task.valid_metric if self.split == "valid" else task.train_metric

    @cached_property
    def ranks(self) -> list[tuple[int, int] | None]:
        """The best and the worst rank of each group; see `charlm.report.spread.ranks`."""
        if not self.comparable:
            return [None] * len(self.groups)
        higher = self.metric(self.tasks[0]).higher_is_better
        return ranks([group.spread for group in self.groups], higher_is_better=higher)

    def group_of(self, run: Run) -> Group:
        """The group that a run is in."""
        return next(group for group in self.groups if any(each is run for each in group.runs))

    def ahead(self, one: Group, other: Group) -> Difference:
        """By how much the mean of one group is better; both are ranked."""
        if not self.metric(one.runs[0].task).higher_is_better:
            one, other = other, one
        pairs = count_pairs(sum(rank is not None for rank in self.ranks))
        return difference(one.spread, other.spread, pairs)

    @property
    def ranked(self) -> list[Group]:
        """The groups that have a rank."""
        return [group for group, rank in zip(self.groups, self.ranks, strict=True) if rank]


def compare(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """The groups of some runs.

    Args:
        rows: for each run, its metrics by their keys, such as ``valid_perplexity``, and "ended":
            whether its training has.
    """
    has_valid = any(
        row[run.task.metric_keys[1]] is not None for run, row in zip(runs, rows, strict=True)
    )
    split = "valid" if has_valid else "train"
    facts = [{"task": run.task.name, **_data(run)} for run in runs]
    comparable = all(each == facts[0] for each in facts)
    settings = [run.config.essential() for run in runs]
    keys = [*zip(facts, settings, strict=True)]
    members: list[list[int]] = []  # places in ``runs``
    for place, key in enumerate(keys):
        alike = next((each for each in members if keys[each[0]] == key), None)
        members.append([place]) if alike is None else alike.append(place)
    differing = _differing([settings[first] for first, *_ in members])
    groups = []
    for places in members:
        run, own = runs[places[0]], settings[places[0]]
        own = {key: own[key] for key in differing if key in own}
        metric = run.task.metric_keys[split == "valid"]
        group = Group(
            name="",
            label=_label(own, () if comparable else (str(run.corpus["name"]),)),
            settings=own,
            runs=[runs[place] for place in places],
            values=[rows[place][metric] for place in places],
        )
        groups.append(group)
    if comparable:
        task = runs[0].task
        sign = -1 if (task.train_metric, task.valid_metric)[has_valid].higher_is_better else 1
        groups.sort(key=lambda group: (group.spread.mean is None, sign * (group.spread.mean or 0)))
    named = [replace(group, name=_name(place)) for place, group in enumerate(groups)]
    unfinished = [run for run, row in zip(runs, rows, strict=True) if not row["ended"]]
    return Comparison(groups=named, split=split, comparable=comparable, unfinished=unfinished)


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all, with the value in each; None: it has none."""
    return {
        key: [each.get(key) for each in settings]
        for key in dict.fromkeys(key for each in settings for key in each)
        if any(each.get(key) != settings[0].get(key) for each in settings)
    }


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the settings with several values; it may be idle, and so missing, in some."""
    names = dict.fromkeys(name for each in settings for name in each)
    values = {name: [each[name] for each in settings if name in each] for name in names}
    return [name for name, found in values.items() if any(value != found[0] for value in found)]


def _data(run: Run) -> dict[str, Any]:
    """What says which text or examples a run was trained and scored on."""
    return {key: value for key, value in run.corpus.items() if key not in ("name", "source")}


def _name(place: int) -> str:
    """A to Z, then A2 to Z2, and so on."""
    number, letter = divmod(place, 26)
    return string.ascii_uppercase[letter] + (str(number + 1) if number else "")


def _label(settings: Mapping[str, Any], first: Iterable[str]) -> str:
    words = [*first]
    for key, value in settings.items():
        text = without_home(value_text(value))
        text = text if len(text) <= _VALUE else f"…{text[1 - _VALUE :]}"
        words.append(f"{key.rpartition('.')[2]}={text}")
    more = len(words) - _SETTINGS
    return ", ".join(words[:_SETTINGS] + ([f"{more} more"] if more > 0 else []))
