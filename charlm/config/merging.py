"""A configuration is built up in layers: plain mappings of section to keys to values.

The defaults, then a preset, then the user's file, then the command line. Layers come from TOML,
JSON and ``KEY=VALUE``.
"""

from __future__ import annotations

import dataclasses
import stat
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from charlm.config.checks import check_known
from charlm.errors import UsageError, shown

Layer = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """Everything that a run of one task is made of: three frozen sections.

    A subclass names its task and gives the sections their types.
    """

    task: ClassVar[str]
    corpus: Any
    model: Any
    training: Any

    @classmethod
    def sections(cls) -> dict[str, type]:
        """The type of each section."""
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The sections as plain mappings, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_layers(cls, layers: Iterable[Layer]) -> Self:
        """Merge ``layers`` over the defaults, later ones over earlier ones.

        Raises:
            UsageError: an unknown section or key (the nearest known one is named), a value of
                another type, or one out of its range.
        """
        sections = cls.sections()
        merged: dict[str, dict[str, Any]] = {name: {} for name in sections}
        for layer in layers:
            for section, values in layer.items():
                check_known(section, sections, "section")
                if not isinstance(values, Mapping):
                    raise UsageError(f"{section} is a section; write its keys under [{section}]")
                known = typing.get_type_hints(sections[section])
                for key, value in values.items():
                    check_known(key, known, f"key of [{section}]")
                    merged[section][key] = _convert(f"{section}.{key}", known[key], value)
            # How training ends is one choice: a later layer's takes the place of earlier ones.
            given = layer.get("training", {})
            ends = {key for key in ("epochs", "minutes") if given.get(key) not in (None, "none")}
            if len(ends) == 1:
                merged["training"][({"epochs", "minutes"} - ends).pop()] = None
        return cls(**{name: kind(**merged[name]) for name, kind in sections.items()})

    @classmethod
    def layer_from_assignments(cls, assignments: Iterable[str]) -> Layer:
        """A layer from ``KEY=VALUE`` words; the key with or without its section.

        Raises:
            UsageError: no ``=``, or a key that no section has.
        """
        layer: dict[str, dict[str, Any]] = {}
        homes = {
            field.name: section
            for section, kind in cls.sections().items()
            for field in dataclasses.fields(kind)
        }
        for word in assignments:
            key, equals, value = word.partition("=")
            key = key.strip().replace("-", "_")
            if not equals:
                raise UsageError(
                    f"--set {shown(word)}: it takes KEY=VALUE", "for example --set lr=0.01"
                )
            section, dot, short = key.rpartition(".")
            if not dot:
                check_known(key, homes, "key")
                section = homes[key]
            layer.setdefault(section, {})[short] = value.strip()
        return layer


def _convert(name: str, wanted: Any, value: Any) -> Any:
    """``value``, from TOML, JSON or a ``KEY=VALUE``'s text, as the type that a field has."""
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if type(None) in options and (value is None or value == "none"):
        # The word must stay a value where the field knows it as one.
        return "none" if name == "corpus.cleaning" and value == "none" else None
    kind = next(option for option in options if option is not type(None))
    if typing.get_origin(kind) is Literal:
        kind = str
    try:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            parts = value.split(",") if isinstance(value, str) else value
            if not isinstance(parts, list | tuple):
                raise TypeError
            if item is int and value in ("", "none"):
                return ()
            return tuple(_scalar(item, part) for part in parts)
        return _scalar(kind, value)
    except (TypeError, ValueError, OverflowError):
        noun = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        noun[tuple[int, ...]] = "a list of whole numbers"
        raise UsageError(
            f"{name} is {shown(value)}; it must be {noun.get(kind, 'a list')}"
        ) from None


def _scalar(kind: Any, value: Any) -> Any:
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    if kind is int and isinstance(value, float):
        raise TypeError
    return kind(value)


def layer_from_toml(path: Path) -> Layer:
    """A layer from a TOML file with the sections ``[corpus]``, ``[model]``, ``[training]``.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            # A pipe may keep the command waiting for ever, and a device never end.
            raise UsageError(f"cannot read the configuration {path}: it is not a regular file")
        return parse_toml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the configuration {path}: {reason}") from None


def parse_toml(text: str, name: str) -> Layer:
    """A layer from TOML.

    Raises:
        UsageError: it is not TOML; ``name`` says where it is from.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {error}") from None
