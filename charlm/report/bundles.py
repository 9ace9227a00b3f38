"""The curves of trainings in groups, and the mean curve of each group."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from charlm.report.groups import Comparison
from charlm.report.run_page import MOST_ROWS, thinned
from charlm.task import Metric

Line = Sequence[tuple[float, float]]
"""Points (x, y) of a curve, sorted by x."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The curves of a metric in the trainings of a group, over the items and over the seconds."""

    name: str  # any text
    metric: Metric
    items: str  # what was seen, such as characters
    lines: tuple[Sequence[Line], Sequence[Line]]  # over each: one for each training with data
    means: tuple[Line, Line]  # over each: the mean of the lines, where all of them are defined

    @property
    def has_data(self) -> bool:
        """Whether the metric was ever measured."""
        return bool(self.lines[0])


def bundles(comparison: Comparison) -> list[Bundle]:
    """The curves of each group, with at most `MOST_ROWS` reports in all, evenly spread."""
    most = MOST_ROWS // sum(len(group.runs) for group in comparison.groups)
    found = []
    for group in comparison.groups:
        task = group.runs[0].task
        metric = comparison.metric(task)
        key = metric.key(comparison.split)
        measured = [[row for row in run.metrics if row[key] is not None] for run in group.runs]
        items, times = (
            [[(row[x], row[key]) for row in thinned(rows, most)] for rows in measured if rows]
            for x in (task.unit, "seconds")
        )
        bundle = Bundle(
            name=group.title,
            metric=metric,
            items=task.unit,
            lines=(items, times),
            means=(mean_line(items), mean_line(times)),
        )
        found.append(bundle)
    return found


def time_axis(seconds: Sequence[float]) -> tuple[str, int]:
    """The unit for some times and its seconds: seconds, minutes or hours."""
    units = ("hours", 3600), ("minutes", 60)
    longest = max(seconds, default=0)
    return next((unit for unit in units if longest >= 2 * unit[1]), ("seconds", 1))


def mean_line(lines: Sequence[Line]) -> Line:
    """The mean of some curves, at each x of any of them where all are defined.

    Between two points a curve is taken as straight.
    """
    if not lines:
        return []
    first, last = max(line[0][0] for line in lines), min(line[-1][0] for line in lines)
    places = sorted({x for line in lines for x, _ in line if first <= x <= last})
    return [(x, sum(_at(line, x) for line in lines) / len(lines)) for x in places]


def _at(line: Line, x: float) -> float:
    after = bisect_left(line, x, key=lambda point: point[0])
    right, y = line[after]
    if right == x:
        return y
    left, before = line[after - 1]
    return before + (y - before) * (x - left) / (right - left)
