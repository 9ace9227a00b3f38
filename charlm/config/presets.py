"""The presets that charlm comes with: TOML files in one folder per task."""

from __future__ import annotations

from importlib import resources
from typing import Any

from charlm.config.merging import Settings, parse_toml
from charlm.config.settings import check_known
from charlm.errors import UsageError

_COMMANDS = {
    "language-model": "charlm train",
    "classify": "charlm classify train",
    "tag": "charlm tag train",
}


def preset_names(task: str) -> list[str]:
    """The names of a task's presets, sorted."""
    files = resources.files("charlm").joinpath("presets", task).iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in files if entry.name[-5:] == ".toml")


def preset(task: str, name: str) -> dict[str, Any]:
    """The content of a preset's file: the configuration's sections, and ``[published]``.

    Raises:
        UsageError: the task has no such preset.
    """
    for other, command in _COMMANDS.items():
        if other != task and name in preset_names(other):
            raise UsageError(f"the preset {name} is for another task", f"{command} --preset {name}")
    check_known(name, preset_names(task), "preset")
    path = resources.files("charlm").joinpath("presets", task, f"{name}.toml")
    return dict(parse_toml(path.read_text(encoding="utf-8"), name))


def settings_from_preset(task: str, name: str) -> Settings:
    """The settings of a preset: its file without ``[published]``.

    Raises:
        UsageError: the task has no such preset.
    """
    return {section: v for section, v in preset(task, name).items() if section != "published"}
