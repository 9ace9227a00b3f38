"""What settings must be: each check raises a UsageError that names the setting."""

from __future__ import annotations

import math
from collections.abc import Iterable

from charlm.errors import UsageError, did_you_mean, shown


def check(ok: bool, message: str, hint: str | None = None) -> None:
    """Raise a UsageError unless ``ok``."""
    if not ok:
        raise UsageError(message, hint)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """It must be one of a few words."""
    check(value in choices, f"{name} is {shown(value)}; it can be {', '.join(choices)}")


def check_positive(name: str, value: float | None) -> None:
    """It must be more than 0, where it is given."""
    # False for a NaN; and a whole number may be too large to become a float.
    ok = value is None or 0 < value < math.inf
    check(ok, f"{name} is {shown(value)}; it must be more than 0, and finite")


def check_not_negative(name: str, value: float) -> None:
    """It must be 0 or more."""
    ok = 0 <= value < math.inf
    check(ok, f"{name} is {shown(value)}; it must be 0 or more, and finite")


def check_part(name: str, value: float) -> None:
    """It must be a probability or a fraction, below 1."""
    check(0 <= value < 1, f"{name} is {value}; it must be from 0 to below 1")


def check_at_most(name: str, value: int | None, limit: int) -> None:
    """It must not be larger than makes sense."""
    # Far beyond any use, so that a damaged configuration is refused and nothing hangs.
    ok = value is None or value <= limit
    check(ok, f"{name} is {shown(value)}; it must be at most {limit:,}")


def check_known(name: str, known: Iterable[str], what: str) -> None:
    """It must be a name that there is; the nearest is the hint."""
    names = sorted(known)
    if name not in names:
        raise UsageError(f"unknown {what}: {shown(name)}", did_you_mean(name, names))
