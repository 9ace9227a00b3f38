"""The page of ``charlm runs compare --html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config.settings import value_text
from charlm.pages import CHARTS, page
from charlm.report.bundles import Bundle, bundles
from charlm.report.comparison import comparison_words, group_table, last_samples
from charlm.report.groups import Comparison
from charlm.report.run_page import without_home
from charlm.task import Table


def comparison_page(comparison: Comparison, runs: Table, warning: str | None = None) -> bytes:
    """A page with the groups, their curves and their samples side by side.

    Args:
        runs: a row for each run.
        warning: why the runs cannot be compared.
    """
    names = [group.name for group in comparison.groups]
    differing = dict.fromkeys(key for group in comparison.groups for key in group.settings)
    settings = [
        (key, *(_setting(group.settings, key) for group in comparison.groups)) for key in differing
    ]
    words = [*([f"warning: {warning}"] if warning else []), *comparison_words(comparison)]
    title = f"{comparison.title} of {len(names)} group{'' if len(names) == 1 else 's'} of runs"
    data = {
        "title": title,
        "words": [each[0].upper() + each[1:] for each in words],
        "groups": _table(group_table(comparison)),
        "settings": _table(Table(("setting", *names), settings)),
        "runs": _table(runs),
        "curves": [_curves(each) for each in bundles(comparison)],
        "samples": [
            {**each, "samples": [{**one, "run": Path(one["run"]).name} for one in each["samples"]]}
            for each in last_samples(comparison)
        ],
    }
    return page(
        "compare.html",
        title=title,
        data=data,
        scripts=[*CHARTS, "compare.js"],
        styles=["uplot/uPlot.min.css"],
    )


def _setting(settings: Mapping[str, Any], key: str) -> str:
    return without_home(value_text(settings[key])) if key in settings else "-"


def _table(table: Table) -> dict[str, Any]:
    return {"header": table.header, "rows": table.rows, "left": table.left}


def _curves(bundle: Bundle) -> dict[str, Any]:
    metric = bundle.metric
    return {
        "group": bundle.name,
        "metric": metric.label or metric.name,
        "logarithmic": bool(metric.bits),
        "items": bundle.items,
        "lines": bundle.lines,
        "means": bundle.means,
    }
