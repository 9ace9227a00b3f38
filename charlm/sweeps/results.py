"""The trials of a sweep as a table, as JSON and in words."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config.settings import value_text
from charlm.errors import counted
from charlm.report.sweep_plots import Searched, Trials
from charlm.sweeps.file import Parameter, Sweep
from charlm.sweeps.worker import PARTS, REASON, short
from charlm.task import Table

if TYPE_CHECKING:
    from optuna import Study

COMPLETE, PRUNED, FAILED, UNFINISHED = "complete", "pruned", "failed", "unfinished"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A trial."""

    number: int
    run: Path
    state: str  # one of the words above
    value: float | None  # of a pruned or unfinished trial: its last score
    settings: Mapping[str, Any]  # the searched settings, by ``section.key``
    scores: Sequence[tuple[float, float]]  # the part of the training, 0 to 1, and the metric then
    reason: str = ""  # why it failed


def results(study: Study, sweep: Sweep) -> list[Result]:
    """All trials, the best first; after the complete ones, those that were pruned."""
    words = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}
    found = []
    for trial in study.get_trials():
        parts = sorted(trial.intermediate_values.items())
        scores = [(part / PARTS, value) for part, value in parts]
        value = trial.value if trial.state.name == "COMPLETE" else scores[-1][1] if scores else None
        result = Result(
            number=trial.number,
            run=sweep.run_folder(trial.number),
            state=words.get(trial.state.name, UNFINISHED),
            value=value,
            settings=trial.params,
            scores=scores,
            reason=trial.user_attrs.get(REASON, ""),
        )
        found.append(result)
    order, sign = [*words.values(), UNFINISHED], -1 if _higher(sweep) else 1
    return sorted(
        found,
        key=lambda each: (
            order.index(each.state),
            each.value is None,
            sign * (each.value or 0),
            each.number,
        ),
    )


def _higher(sweep: Sweep) -> bool:
    return sweep.task.valid_metric.higher_is_better


def best_of(found: Sequence[Result]) -> Result | None:
    """The best complete trial."""
    return found[0] if found and found[0].state == COMPLETE else None


def finished(found: Sequence[Result]) -> int:
    """The number of trials that need no more training."""
    return sum(each.state != UNFINISHED for each in found)


def table(found: Sequence[Result], sweep: Sweep) -> Table:
    """A row for each trial."""
    metric = sweep.task.valid_metric
    names = [each.name for each in sweep.search]
    rows = [
        (
            str(each.number),
            each.state,
            metric.text(each.value),
            str(len(each.scores)),
            *(short(each.settings.get(name, "-")) for name in names),
        )
        for each in found
    ]
    keys = [each.key for each in sweep.search]
    return Table(("trial", "", metric.title("valid"), "scorings", *keys), rows, left=2)


def as_json(found: Sequence[Result], sweep: Sweep) -> dict[str, Any]:
    """The trials for programs."""
    trials = [_trial_json(each) for each in found]
    best = best_of(found)
    return {
        "sweep": str(sweep.folder),
        "task": sweep.task.name,
        "metric": sweep.task.valid_metric.key("valid"),
        "trials_wanted": sweep.about.trials,
        "trials_finished": finished(found),
        "best": None if best is None else {**_trial_json(best), "commands": commands(sweep, best)},
        "trials": trials,
    }


def _trial_json(result: Result) -> dict[str, Any]:
    about = {
        "trial": result.number,
        "run": str(result.run),
        "state": result.state,
        "value": result.value,
        "scores": [list(each) for each in result.scores],
        "settings": dict(result.settings),
    }
    return about | ({"reason": result.reason} if result.reason else {})


def summary(found: Sequence[Result], sweep: Sweep) -> list[str]:
    """How many trials ended in which way, and the best one."""
    counts = {
        word: sum(each.state == word for each in found)
        for word in (COMPLETE, PRUNED, FAILED, UNFINISHED)
    }
    parts = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    lines = [f"{counted(len(found), 'trial')} of {sweep.about.trials}: {parts or 'none begun'}"]
    lines += [f"trial {each.number} failed: {each.reason}" for each in found if each.reason]
    best, metric = best_of(found), sweep.task.valid_metric
    if best is not None:
        score = f"{metric.title('valid')} {metric.text(best.value)}"
        lines.append(f"best: trial {best.number}, {score}; run {best.run}")
    return lines


def commands(sweep: Sweep, best: Result) -> list[str]:
    """Commands that say whether a trial is better than the settings without the search.

    They train both with three seeds, and compare them.
    """
    seeds, names = range(3), (f"{sweep.name}-best", f"{sweep.name}-default")
    trainings = [
        _training(sweep, name, f"{seeds[0]}-{seeds[-1]}", settings)
        for name, settings in zip(names, (best.settings, {}), strict=True)
    ]
    runs = [f"{name}-seed{seed}" for name in names for seed in seeds]
    return [*trainings, shlex.join(["charlm", "runs", "compare", *runs])]


def _training(sweep: Sweep, name: str, seeds: str, settings: Mapping[str, Any]) -> str:
    words = [*sweep.task.command.split(), "train", "--run", name, "--seeds", seeds]
    if sweep.about.preset is not None:
        words += ["--preset", sweep.about.preset]
    config = sweep.task.config_type
    for section, values in sweep.given["file"].items():
        kind = config.sections()[section]
        for key, value in values.items():
            if (section, key) != ("training", "seed"):
                words += ["--set", f"{section}.{key}={value_text(kind.convert(key, value))}"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value_text(value)}"]
    return shlex.join(words)


def drawable_trials(found: Sequence[Result], sweep: Sweep) -> Trials:
    """The trials that have a score, for pictures."""
    drawn = (each for each in found if each.state in (COMPLETE, PRUNED))
    finite = (each for each in drawn if each.value is not None and math.isfinite(each.value))
    scored = sorted(finite, key=lambda each: each.number)
    return Trials(
        metric=sweep.task.valid_metric,
        numbers=[each.number for each in scored],
        values=[each.value for each in scored if each.value is not None],
        complete=[each.state == COMPLETE for each in scored],
        curves=[each.scores for each in scored],
        searched=[_searched(each, scored) for each in sweep.search],
    )


def _searched(parameter: Parameter, scored: Sequence[Result]) -> Searched:
    values = [each.settings[parameter.name] for each in scored]
    return Searched(
        name=parameter.key,
        places=[parameter.choices.index(value) for value in values]
        if parameter.choices
        else values,
        choices=[value_text(choice) for choice in parameter.choices],
        log=parameter.log,
    )
