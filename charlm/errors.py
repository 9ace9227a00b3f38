"""The errors that a user can cause or meet; the command line prints each as one line."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class CharlmError(Exception):
    """An expected failure: what is wrong and where, and in ``hint`` what to do about it.

    Args:
        message: one line, without the word "error".
        hint: one line that says what to do, or None.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CharlmError):
    """The command line, a configuration file or a preset asks for something that cannot be."""

    exit_code = 2


class CorpusError(CharlmError):
    """A text is missing, unreadable, not text, or too short."""


class FetchError(CorpusError):
    """A catalogued corpus is not on this machine and could not be downloaded."""


class RunError(CharlmError):
    """A run folder is missing, incomplete or damaged."""


class TrainingError(CharlmError):
    """Training cannot go on: a loss, a gradient or a state is not finite."""


def shown(value: object) -> str:
    """Something from a file or a command line, for a message: on one line, and not a long one."""
    try:
        text = _REPR.repr(value)
    except ValueError:  # a whole number of thousands of digits, which Python does not write out
        text = f"a long {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The hint for an unknown name: the known name that is most like it, or all known names.

    Args:
        otherwise: the hint where no known name is close; None: the list of known names.
    """
    known = list(known)
    # Comparing a name of millions of characters, as in a damaged file, would take minutes.
    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise or f"known: {', '.join(known)}"


_SHOWN = 120
_REPR = reprlib.Repr()  # it goes into nothing deep, and copies nothing long
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN


class Stopped(Exception):  # noqa: N818 - it is no error
    """What was asked to stop has done so, before its end. No failure, so no `CharlmError`."""
