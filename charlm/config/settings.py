"""One place for each setting: a field of a frozen dataclass, made by `setting`.

The field says the setting's default, bounds, help and option, and whether it may change on resume.
``--help``, ``--set``, TOML, ``--dry-run``, docs/settings.md and the check on resume are all made
from the fields.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from charlm.errors import UsageError, did_you_mean, shown
from charlm.home import is_path, with_home


def check(ok: bool, message: str, hint: str | None = None) -> None:
    """Raise a UsageError unless ``ok``."""
    if not ok:
        raise UsageError(message, hint)


def check_known(name: str, known: Iterable[str], what: str, otherwise: str | None = None) -> None:
    """Raise a UsageError unless ``name`` is known; ``otherwise`` is as in `did_you_mean`."""
    names = sorted(known)
    if name not in names:
        raise UsageError(f"unknown {what}: {shown(name)}", did_you_mean(name, names, otherwise))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a field says about its setting, beside the name, the type and the default.

    Attributes:
        help: one or more sentences.
        option: the names on the command line, such as ``("--lr",)`` or, for a flag that can be
            turned off, ``("--on/--off",)``; empty: only ``--set``, TOML and presets take it.
        metavar: the value in ``--help``; None: made from the type or the choices.
        choices: the values that are allowed. It is read at each check, so it may grow.
        above, at_least, below, at_most: bounds of a number, or of each number of a list.
        none_means: what happens where the value is None or an empty list.
        none: the value that None, "none" and, for a number, infinity stand for, where the type has
            no None.
        resumable: whether the setting may change when a training is resumed.
        incidental: whether runs that differ in this setting alone are repetitions of one training:
            the seed, and what only says where the data lies, what is saved and what is sampled.
        group: settings of a group replace each other: a later source of settings that gives one of
            them unsets the others.
    """

    help: str = ""
    option: tuple[str, ...] = ()
    metavar: str | None = None
    choices: Iterable[str] | None = None
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    none_means: str | None = None
    none: Any = None
    resumable: bool = False
    incidental: bool = False
    group: str | None = None

    @property
    def range(self) -> str | None:
        """The bounds in words; None: there are no bounds."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:,} to {self.at_most:,}"
        words = {"above": self.above, "at least": self.at_least, "below": self.below}
        bounds = [f"{word} {bound:,}" for word, bound in words.items() if bound is not None]
        if bounds and self.below is None:
            bounds.append("finite")
        return " and ".join(bounds) or None

    def check(self, name: str, value: Any) -> None:
        """Raise a UsageError unless a value is one of the choices and within the bounds."""
        if value is None:
            return
        if self.choices is not None and value not in self.choices:
            raise UsageError(f"{name} is {shown(value)}; it can be {', '.join(self.choices)}")
        if self.range is not None:
            which, parts = ("each", value) if isinstance(value, tuple) else ("it", (value,))
            ok = all(map(self._within, parts))
            check(ok, f"{name} is {shown(value)}; {which} must be {self.range}")

    def _within(self, number: float) -> bool:
        # Every comparison with a NaN is false. Python compares huge whole numbers exactly.
        return (
            -math.inf < number < math.inf
            and (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )

    def words(self, value: Any) -> str:
        """A value as a user would write it, or what happens where it is unset."""
        if value in (None, ()) and self.none_means is not None:
            return self.none_means
        return self.text(value)

    def text(self, value: Any) -> str:
        """A value as ``--set`` takes it."""
        return "none" if self.none is not None and value == self.none else value_text(value)

    @property
    def summary(self) -> str:
        """The first sentence of the help, and what an unset value means."""
        first = re.split(r"(?<! al)\. ", self.help)[0].removesuffix(".") + "."
        return f"{first} none: {self.none_means}." if self.none_means else first


def value_text(value: Any) -> str:
    """A value in TOML's words, with ``none`` and without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


_KEY = "setting"

PROBABILITY: dict[str, Any] = {"at_least": 0, "below": 1}
SIZE: dict[str, Any] = {"at_least": 1, "at_most": 1_000_000}
COUNT: dict[str, Any] = {"at_least": 1, "at_most": 10**9}
"""Bounds of `setting`; far beyond any use, so that a damaged configuration is refused."""


def setting(
    default: Any, help: str = "", *, option: str | tuple[str, ...] = (), **about: Any
) -> Any:
    """A dataclass field that is a setting of a run; `Setting` says what the arguments mean."""
    option = (option,) if isinstance(option, str) else option
    metadata = {_KEY: Setting(help=help, option=option, **about)}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Section:
    """The base of the sections of a configuration: frozen, keyword-only dataclasses.

    A subclass may restate the default of an inherited setting (``hidden_size: int = 64``), or
    some of what is said about it (``setting(64, "Units of each direction.")``); the rest stays.

    Raises:
        UsageError: a value is not one of its choices, or out of bounds.
    """

    section: ClassVar[str] = ""
    """The name of the section in files: corpus, model or training."""

    def __init_subclass__(cls, *, section: str | None = None) -> None:
        super().__init_subclass__()
        if section is not None:
            cls.section = section
        bases = [base for base in reversed(cls.__bases__) if issubclass(base, Section)]
        inherited = {key: about for base in bases for key, about in base.settings().items()}
        unsaid = vars(Setting())
        for key in inspect.get_annotations(cls):
            own: Any = getattr(cls, key, None)
            is_setting = isinstance(own, dataclasses.Field)
            if key in inherited:
                said = vars(own.metadata[_KEY]).items() if is_setting else ()
                changes = {name: value for name, value in said if value != unsaid[name]}
                about = dataclasses.replace(inherited[key], **changes)
                default = own.default if is_setting else own
                setattr(cls, key, dataclasses.field(default=default, metadata={_KEY: about}))
            elif not is_setting:
                raise TypeError(f"{cls.__name__}.{key} is not made by setting()")

    def __post_init__(self) -> None:
        for key, about in self.settings().items():
            about.check(self.name_of(key), getattr(self, key))

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """What each field says about its setting, by key."""
        return {field.name: field.metadata[_KEY] for field in dataclasses.fields(cls)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each setting, by key."""
        return {field.name: field.default for field in dataclasses.fields(cls)}

    @classmethod
    def name_of(cls, key: str) -> str:
        """A setting's name for a message: section, key, and its option where that differs."""
        option = cls.settings()[key].option
        same = not option or "--" + key.replace("_", "-") in option[0].split("/")
        return f"{cls.section}.{key}" + ("" if same else f" ({option[0]})")

    @classmethod
    def type_of(cls, key: str) -> tuple[Any, bool]:
        """The type of a setting's value beside None, and whether it can be None."""
        hint = cls._hints()[key]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        return next(each for each in kinds if each is not types.NoneType), types.NoneType in kinds

    @classmethod
    @functools.cache  # Python compiles all annotations each time
    def _hints(cls) -> dict[str, Any]:
        return typing.get_type_hints(cls)

    @classmethod
    def convert(cls, key: str, value: Any) -> Any:
        """A value from TOML, JSON, an option or ``KEY=VALUE`` as the field's type.

        Raises:
            UsageError: it is of another type.
        """
        about, (kind, optional) = cls.settings()[key], cls.type_of(key)
        if is_path(about.metavar):
            value = with_home(value)
        is_none = value is None or (value == "none" and "none" not in (about.choices or ()))
        if optional and is_none:
            return None
        if about.none is not None and (is_none or (kind is float and _is_infinite(value))):
            return about.none
        try:
            if typing.get_origin(kind) is tuple:
                return _list(typing.get_args(kind)[0], value)
            return _scalar(kind, value)
        except (TypeError, ValueError, OverflowError):
            wanted = _NOUNS.get(kind, "a list")
            wanted += " or none" if optional or about.none is not None else ""
            raise UsageError(f"{cls.name_of(key)} is {shown(value)}; it must be {wanted}") from None

    @classmethod
    def resumable(cls) -> frozenset[str]:
        """The keys of the settings that may change when a training is resumed."""
        return frozenset(key for key, about in cls.settings().items() if about.resumable)


_NOUNS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple[int, ...]: "a list of whole numbers",
}


def _is_infinite(value: Any) -> bool:
    try:
        return float(value) == math.inf
    except (TypeError, ValueError, OverflowError):
        return False


def _list(item: type, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        # One empty text is a value; an empty number is not.
        value = [part.strip() for part in value.split(",")] if value or item is str else []
    if not isinstance(value, list | tuple):
        raise TypeError
    return tuple(_scalar(item, part) for part in value)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool) != (kind is bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    if kind is int and isinstance(value, float):
        raise TypeError
    return kind(value)
