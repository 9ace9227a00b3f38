"""The file of a sweep: what is trained, and which settings are tried. All of it is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from charlm.config import Section, Settings, TaskConfig, setting, settings_from_toml
from charlm.config.seeds import LARGEST_SEED
from charlm.config.settings import COUNT, check, check_known
from charlm.errors import UsageError, shown
from charlm.task import Task, settings_from_preset
from charlm.tasks import TASKS

SWEEPS = Path("sweeps")
_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True, kw_only=True)
class SweepSection(Section, section="sweep"):
    """The section [sweep]: how many trials there are, and how settings are chosen."""

    trials: int = setting(20, "Trainings in all, by all workers together.", **COUNT)
    task: str = setting("language-model", "The task.", choices=TASKS)
    preset: str | None = setting(None, "A preset of the task.", none_means="no preset")
    folder: str | None = setting(
        None,
        "The folder of the sweep. All workers need it.",
        metavar="FOLDER",
        none_means="sweeps/<name of the file>",
    )
    storage: str | None = setting(
        None,
        "The address of a database for the trials, as SQLAlchemy takes it.",
        none_means="a journal in the folder",
    )
    pruning: bool = setting(
        True,
        "Stop a trial when its best score is worse than the median of the complete ones after the "
        "same part of the training, once there are five (optuna's MedianPruner).",
    )
    seed: int = setting(
        0, "Seed of the choices, not of the trainings.", at_least=0, at_most=LARGEST_SEED
    )


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting that is searched: one of some choices, or a number of a range.

    Attributes:
        choices: values as in the file; empty: a range.
        whole: whether the numbers of the range are whole.
        log: whether the logarithm is drawn evenly.
        step: the distance of two numbers of the range; None: any number in it.
    """

    section: str
    key: str
    choices: tuple[Any, ...] = ()
    whole: bool = False
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None

    @property
    def name(self) -> str:
        """``section.key``."""
        return f"{self.section}.{self.key}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep as its file describes it.

    Attributes:
        path: the file.
        given: the settings that all trials share, by source, in the order of merging.
        search: the settings that differ.
        content: what may not change while a sweep goes on, by section.
    """

    path: Path
    about: SweepSection
    given: Mapping[str, Settings]
    search: tuple[Parameter, ...]
    content: Mapping[str, Mapping[str, Any]]

    @property
    def task(self) -> Task:
        """The task of the trials."""
        return TASKS[self.about.task]

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return Path(self.about.folder) if self.about.folder else SWEEPS / self.path.stem

    @property
    def name(self) -> str:
        """The name of the sweep in its storage."""
        return self.folder.name

    def run_folder(self, trial: int) -> Path:
        """The run folder of a trial."""
        return self.folder / f"trial-{trial:04}"

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """The searched settings, with values by ``section.key``."""
        return self.task.config_type.settings_from_pairs(values.items())

    def idle(self, config: TaskConfig) -> dict[str, str]:
        """The searched settings that have no effect in any trial, with the reason for each.

        Args:
            config: the configuration without the searched settings. They are tried one at a time.
        """
        idle: list[dict[str, str]] = []
        for each in self.search:
            for value in each.choices or (each.low, each.high):
                changed = self.settings({each.name: value})
                with suppress(UsageError):  # it goes together with other values only
                    found = type(config).from_settings([config.to_dict(), changed]).idle()
                    idle.append({f"{section}.{key}": why for (section, key), why in found.items()})
        return {
            each.name: idle[0][each.name]
            for each in self.search
            if idle and all(each.name in found for found in idle)
        }


def read_sweep(path: Path) -> Sweep:
    """The sweep of a TOML file.

    Raises:
        UsageError: it cannot be read, a setting is unknown or of another type, or a range goes
            beyond a setting's bounds; the message names the place in the file.
    """
    tables = dict(settings_from_toml(path))
    own, search = (_table(path, tables, name) for name in ("sweep", "search"))
    with _at(f"{path}, [sweep]"):
        for key in own:
            check_known(key, SweepSection.settings(), "key")
        about = SweepSection(**{key: SweepSection.convert(key, own[key]) for key in own})
    given: dict[str, Settings] = {}
    config = TASKS[about.task].config_type
    with _at(str(path)):
        if about.preset is not None:
            given["preset"] = settings_from_preset(about.task, about.preset)
        shared = config.from_settings([*given.values(), tables])
        check(
            shared.corpus.source != "-",
            "each trial reads the data, and standard input cannot be read again",
            "write it to a file, and name the file",
        )
    given["file"] = tables
    check(bool(search), f"{path} searches nothing", "give settings to try under [search]")
    parameters: list[Parameter] = []
    for name, values in search.items():
        with _at(f"{path}, [search] {name}"):
            ((section, keys),) = config.settings_from_pairs([(name, values)]).items()
            (key,) = keys
            check_known(section, config.sections(), "section")
            kind = config.sections()[section]
            check_known(key, kind.settings(), f"key of [{section}]")
            check(section != "corpus", "scores on different texts cannot be compared")
            check(
                (section, key) != ("training", "seed"),
                "the best seed would only be luck",
                "charlm train --seeds 0-4 shows how far seeds are apart",
            )
            check(key not in tables.get(section, {}), f"it is also in [{section}]", "leave one out")
            check(
                all((section, key) != (each.section, each.key) for each in parameters),
                f"{section}.{key} is searched twice",
            )
            parameters.append(_parameter(kind, key, values))
    fixed = {"task": about.task, "preset": about.preset, "seed": about.seed}
    content = {"sweep": fixed, "search": search, **tables}
    return Sweep(path=path, about=about, given=given, search=tuple(parameters), content=content)


def _table(path: Path, tables: dict[str, Any], name: str) -> dict[str, Any]:
    found = tables.pop(name, {})
    check(isinstance(found, Mapping), f"{path}: {name} is a section; write its keys under [{name}]")
    return dict(found)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Put a place in the file in front of the messages of the block."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", error.hint) from None


def _parameter(section: type[Section], key: str, values: Any) -> Parameter:
    """The choices or the range of a setting."""
    about, kind = section.settings()[key], section.type_of(key)[0]
    if isinstance(values, list):
        check(len(values) > 1, "a list needs two values or more")
        for value in values:
            check(isinstance(value, str | int | float), f"{shown(value)} is not a single value")
            about.check(section.name_of(key), section.convert(key, value))
        check(len({*map(repr, values)}) == len(values), "a value is twice in the list")
        return Parameter(section=section.section, key=key, choices=tuple(values))
    check(
        isinstance(values, Mapping),
        f"{shown(values)} is neither a list of values nor a range",
        "for example [0.1, 0.2] or { low = 0.001, high = 0.01, log = true }",
    )
    for word in values:
        check_known(word, _RANGE, "key of a range")
    check("low" in values and "high" in values, "a range has a low and a high")
    check(kind in (int, float), f"{section.name_of(key)} is not a number", "give a list of values")
    numbers = [values["low"], values["high"], *([values["step"]] if "step" in values else [])]
    for number in numbers:
        check(type(number) in (int, kind), f"{shown(number)} is not a{_NOUNS[kind]} number")
    for number in numbers[:2]:
        about.check(section.name_of(key), kind(number))
    low, high, log, step = *numbers[:2], values.get("log", False), values.get("step")
    check(isinstance(log, bool), f"log is {shown(log)}; it must be true or false")
    check(low < high, f"low is {low}, and high is {high}: low must be below high")
    check(not log or low > 0, f"low is {low}; with log it must be above 0")
    check(not (log and step), "log and step do not go together")
    if step is not None:
        check(step > 0, f"step is {step}; it must be above 0")
        even = (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) == 0
        check(even, f"from {low} to {high} is not a whole number of steps of {step}")
    return Parameter(
        section=section.section,
        key=key,
        whole=kind is int,
        low=kind(low),
        high=kind(high),
        log=log,
        step=step,
    )


_NOUNS = {int: " whole", float: ""}
