"""The options of the train commands, made from the settings of a task."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from charlm.cli.options import Command, replace_parameter
from charlm.config import Section, Setting, Settings, TaskConfig, settings_from_toml
from charlm.task import preset_names, settings_from_preset

_METAVARS = {int: "N", float: "F", str: "TEXT", bool: None}


def takes_settings(config: type[TaskConfig]) -> Callable[[Command], Command]:
    """A decorator that gives a train command the options of a task's settings.

    The command's parameter ``given`` receives what the user gave, as `Settings` by their source,
    in the order in which they are merged: "preset", "file", "option", "--set".
    """

    parameters = [
        parameter
        for name, section in config.sections().items()
        for parameter in _section_parameters(section, f"{name}__")
    ]
    parameters += _source_parameters(config.task)
    build = functools.partial(_given, config)
    return lambda command: replace_parameter(command, "given", parameters, build)


def takes_section(section: type[Section]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options of one section.

    The command's parameter ``options`` receives the section.
    """

    def build(**values: Any) -> Section:
        given = {key: value for key, value in values.items() if value is not None}
        return section(**{key: section.convert(key, value) for key, value in given.items()})

    parameters = list(_section_parameters(section))
    return lambda command: replace_parameter(command, "options", parameters, build)


def _given(
    config: type[TaskConfig],
    *,
    preset: str | None,
    file: Path | None,
    assignments: list[str] | None,
    **options: Any,
) -> dict[str, Settings]:
    """What the user gave, by source; a UsageError if there is no such preset, file or setting."""
    sources: dict[str, Settings] = {}
    if preset is not None:
        sources["preset"] = settings_from_preset(config.task, preset)
    if file is not None:
        sources["file"] = settings_from_toml(file)
    by_option: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        section, _, key = name.partition("__")
        if value not in (None, []):
            by_option.setdefault(section, {})[key] = value
    assigned = config.settings_from_assignments(assignments or [])
    return sources | {"option": by_option, "--set": assigned}


def _section_parameters(section: type[Section], prefix: str = "") -> Iterator[inspect.Parameter]:
    """A keyword parameter, as typer reads it, for each setting that has an option."""
    defaults = section.defaults()
    for key, setting in section.settings().items():
        if setting.option:
            value = section.type_of(key)[0]
            yield _parameter(
                prefix + key,
                _annotation(value),
                *setting.option,
                metavar=_metavar(setting, value),
                help=_help(setting, value, defaults[key]),
            )


def _source_parameters(task: str) -> Iterator[inspect.Parameter]:
    """The parameters of the other sources of settings."""
    text = f"Use the settings of a preset: {', '.join(preset_names(task))}."
    yield _parameter("preset", str | None, "--preset", metavar="NAME", help=text)
    text = "Read settings from a TOML file."
    yield _parameter("file", Path | None, "--config", metavar="FILE.toml", help=text)
    text = "Set any setting of docs/settings.md. Can be repeated."
    yield _parameter("assignments", list[str] | None, "--set", metavar="KEY=VALUE", help=text)


def _parameter(name: str, kind: Any, *option: str, **about: Any) -> inspect.Parameter:
    default = typer.Option(None, *option, show_default=False, **about)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _annotation(value: Any) -> Any:
    """The type that typer converts to. Text stays text, so an option is checked like --set."""
    if typing.get_origin(value) is tuple:
        return list[str] | None
    return bool | None if value is bool else str | None


def _metavar(setting: Setting, value: Any) -> str | None:
    if setting.metavar is None and setting.choices is not None:
        return "|".join(setting.choices)
    return setting.metavar or _METAVARS.get(value, "TEXT")


def _help(setting: Setting, value: Any, default: Any) -> str:
    more = " Can be repeated." if typing.get_origin(value) is tuple else ""
    if value is bool and "/" not in setting.option[0]:
        return setting.help + more  # a flag that is off by default
    words = setting.words(default)
    if value is bool:
        words = setting.option[0].split("/")[not default]
    return f"{setting.help}{more} [default: {words}]"
