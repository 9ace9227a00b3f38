"""A configuration is merged from several sources of settings, later ones over earlier ones.

The sources are the defaults, a preset, the user's file, the options and ``--set``.
"""

from __future__ import annotations

import dataclasses
import stat
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from charlm.config.settings import Section, check_known
from charlm.errors import UsageError, shown

Settings = Mapping[str, Mapping[str, Any]]
"""Values by section and key, from one source; not checked yet."""


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """The whole configuration of a run. A subclass names its task and the sections' types."""

    task: ClassVar[str]
    unwritten: ClassVar[Settings] = {}
    """Values of settings that older runs did not write, where they differ from the defaults."""
    corpus: Any
    model: Any
    training: Any

    @classmethod
    def sections(cls) -> dict[str, type[Section]]:
        """The type of each section."""
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

    @classmethod
    def resumable(cls) -> frozenset[tuple[str, str]]:
        """Section and key of each setting that may change when a training is resumed."""
        return frozenset(
            (name, key) for name, section in cls.sections().items() for key in section.resumable()
        )

    def idle(self) -> dict[tuple[str, str], str]:
        """Section and key of each setting that has no effect here, with the reason."""
        return {
            (section, key): reason
            for section in ("model", "training")
            for key, reason in getattr(self, section).idle().items()
        }

    def by_name(self) -> dict[str, Any]:
        """All settings by ``section.key``."""
        sections = self.to_dict().items()
        return {f"{name}.{key}": value for name, keys in sections for key, value in keys.items()}

    def essential(self) -> dict[str, Any]:
        """The settings that decide what a training learns, by ``section.key``.

        Without those that are incidental (`Setting`), such as the seed, and without the idle ones:
        runs that agree in the rest and in their data are repetitions of one training.
        """
        incidental = [
            (section, key)
            for section, kind in self.sections().items()
            for key, about in kind.settings().items()
            if about.incidental
        ]
        left_out = {f"{section}.{key}" for section, key in (*self.idle(), *incidental)}
        return {name: value for name, value in self.by_name().items() if name not in left_out}

    def with_backend(self, backend: str) -> Self:
        """The configuration with another backend of the recurrent layers."""
        return dataclasses.replace(self, model=dataclasses.replace(self.model, backend=backend))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The sections as plain mappings, fit for JSON."""
        return dataclasses.asdict(self)

    def idle_notices(self, given: Iterable[Settings]) -> list[str]:
        """A line for each setting that the user gave and that has no effect, or is slow."""
        values, notices, given = self.to_dict(), [], [*given]
        slow = {("model", key): reason for key, reason in self.model.slow().items()}
        for verb, reasons in (
            ("but has no effect", self.idle()),
            ("and makes training slow", slow),
        ):
            for (section, key), reason in reasons.items():
                value = values[section][key]
                if value and any(key in settings.get(section, {}) for settings in given):
                    name = getattr(self, section).name_of(key)
                    notices.append(f"{name} is {value} {verb}: {reason}")
        return notices

    @classmethod
    def from_settings(cls, sources: Iterable[Settings]) -> Self:
        """Merge sources of settings over the defaults, later ones over earlier ones.

        Raises:
            UsageError: an unknown section or key, or a value of another type or out of bounds.
        """
        sections = cls.sections()
        merged: dict[str, dict[str, Any]] = {name: {} for name in sections}
        for settings in sources:
            for name, values in settings.items():
                check_known(name, sections, "section")
                if not isinstance(values, Mapping):
                    raise UsageError(f"{name} is a section; write its keys under [{name}]")
                known = sections[name].settings()
                for key in values:
                    check_known(key, known, f"key of [{name}]")
                given = {key: sections[name].convert(key, value) for key, value in values.items()}
                groups = {known[key].group for key in given if given[key] is not None} - {None}
                replaced = (key for key, about in known.items() if about.group in groups)
                merged[name] |= dict.fromkeys(replaced) | given
        return cls(**{name: section(**merged[name]) for name, section in sections.items()})

    def origins(
        self, sources: Mapping[str, Settings], planned: TaskConfig
    ) -> dict[str, dict[str, str]]:
        """Where the value of each setting comes from, by section and key.

        That is the name of one of the ``sources``, or "default", or "data" for a value that was
        chosen for the data. That of a backend that was chosen for this machine is "auto".

        Args:
            sources: by name, in the order in which they were merged.
            planned: the configuration before the backend was chosen.
        """
        found: dict[str, dict[str, str]] = {}
        for section, values in self.to_dict().items():
            kind = self.sections()[section]
            about, defaults = kind.settings(), kind.defaults()
            found[section] = {
                key: "default" if value == defaults[key] else "data"
                for key, value in values.items()
            }
            for name, settings in sources.items():
                given = settings.get(section, {})
                groups = {about[key].group for key in given} - {None}
                replaced = (key for key in about if about[key].group in groups)
                found[section] |= dict.fromkeys([*given, *replaced], name)
        if self.model.backend != planned.model.backend:
            found["model"]["backend"] = planned.model.backend
        return found

    @classmethod
    def settings_from_assignments(cls, assignments: Iterable[str]) -> Settings:
        """Settings from ``KEY=VALUE`` words; the key with or without its section.

        A word without ``=`` and a key that no section has are a UsageError.
        """
        pairs = []
        for word in assignments:
            key, equals, value = word.partition("=")
            if not equals:
                raise UsageError(
                    f"--set {shown(word)}: it takes KEY=VALUE", "for example --set lr=0.01"
                )
            pairs.append((key.strip().replace("-", "_"), value.strip()))
        return cls.settings_from_pairs(pairs)

    @classmethod
    def settings_from_pairs(cls, pairs: Iterable[tuple[str, Any]]) -> Settings:
        """Settings from names and values.

        A name is a key with or without its section, or that of an option: ``num_steps``. The
        UsageError for a name that no section has names the nearest one.
        """
        settings: dict[str, dict[str, Any]] = {}
        homes: dict[str, tuple[str, str]] = {}
        for name, section in cls.sections().items():
            for key, about in section.settings().items():
                options = [each[2:].replace("-", "_") for each in about.option if "/" not in each]
                homes |= dict.fromkeys((key, *options), (name, key))
        for name, value in pairs:
            section_name, dot, key = name.rpartition(".")
            if not dot:
                check_known(name, homes, "key", "--dry-run and docs/settings.md list all settings")
                section_name, key = homes[name]
            settings.setdefault(section_name, {})[key] = value
        return settings


_A_FILE = "name a text file in TOML"


def settings_from_toml(path: Path) -> Settings:
    """Settings from a TOML file; a UsageError if it cannot be read or is not TOML."""
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            # Reading a pipe may wait for ever, and a device may never end.
            raise UsageError(
                f"cannot read the configuration {path}: it is not a regular file", _A_FILE
            )
        return parse_toml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the configuration {path}: {reason}", _A_FILE) from None


def parse_toml(text: str, name: str) -> Settings:
    """Settings from the text of a TOML file; a UsageError about ``name`` if it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{name} is not TOML: {error}", "write lines such as lr = 0.01 below [training]"
        ) from None
