"""The options of the train commands, made from the settings of a task."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from charlm.cli.output import Output
from charlm.config import (
    Setting,
    Settings,
    TaskConfig,
    preset_names,
    settings_from_preset,
    settings_from_toml,
)

_METAVARS = {int: "N", float: "F", str: "TEXT", bool: None}


def takes_settings(
    config: type[TaskConfig],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a train command the options of a task's settings.

    The command's first parameter receives what the user gave, as a list of `Settings`, in the order
    in which they are merged: preset, file, options, ``--set``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        # Annotations are evaluated here, because typer does not know where they come from.
        signature = inspect.signature(command, eval_str=True)
        own = list(signature.parameters.values())[1:]

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            rest = {parameter.name: values.pop(parameter.name) for parameter in own}
            command(_given(config, **values), **rest)

        parameters = [
            *setting_parameters(config),
            *_source_parameters(config.task),
            *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own),
        ]
        wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
        vars(wrapper)["__signature__"] = inspect.Signature(parameters)
        return wrapper

    return decorate


def _given(
    config: type[TaskConfig],
    *,
    preset: str | None,
    file: Path | None,
    assignments: list[str] | None,
    **options: Any,
) -> list[Settings]:
    """What the user gave.

    Raises:
        UsageError: there is no such preset, file or setting.
    """
    sources: list[Settings] = []
    if preset is not None:
        sources.append(settings_from_preset(config.task, preset))
    if file is not None:
        sources.append(settings_from_toml(file))
    by_option: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        section, _, key = name.partition("__")
        if value not in (None, []):
            by_option.setdefault(section, {})[key] = value
    return [*sources, by_option, config.settings_from_assignments(assignments or [])]


def setting_parameters(config: type[TaskConfig]) -> Iterator[inspect.Parameter]:
    """A keyword parameter, as typer reads it, for each setting that has an option."""
    for section, kind in config.sections().items():
        defaults = kind.defaults()
        for key, setting in kind.settings().items():
            if setting.option:
                value = kind.type_of(key)[0]
                yield _parameter(
                    f"{section}__{key}",
                    _annotation(value),
                    *setting.option,
                    metavar=_metavar(setting, value),
                    help=_help(setting, value, defaults[key]),
                )


def _source_parameters(task: str) -> Iterator[inspect.Parameter]:
    """The parameters of the other sources of settings."""
    names = f"Use the settings of a preset: {', '.join(preset_names(task))}."
    yield _parameter("preset", str | None, "--preset", metavar="NAME", help=names)
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


def warn_of_idle_settings(config: TaskConfig, given: list[Settings], output: Output) -> None:
    """Warn of each setting that the user gave and that has no effect in this network."""
    model = config.to_dict()["model"]
    for key, reason in config.model.idle().items():
        if model[key] and any(key in settings.get("model", {}) for settings in given):
            output.warn(f"{config.model.name_of(key)} is {model[key]} but has no effect: {reason}")
