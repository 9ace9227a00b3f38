"""Errors that a user can cause or meet. The command line prints each as one line."""

from __future__ import annotations

import difflib
import errno
import reprlib
from collections.abc import Iterable


class CharlmError(Exception):
    """An expected failure. The message says what is wrong and where, the hint what to do about it.

    Each is one line, and the message does not have the word "error".
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint:
            self.add_note(f"hint: {hint}")  # a traceback shows it, too
        self.message, self.hint = message, hint


class UsageError(CharlmError):
    """The command line, a configuration file or a preset asks for something impossible."""

    exit_code = 2


class CorpusError(CharlmError):
    """A corpus is missing, unreadable, damaged, in another format, or too short."""


class FetchError(CorpusError):
    """A catalogued corpus is not on this machine and could not be downloaded."""


class RunError(CharlmError):
    """A run folder is missing, incomplete or damaged."""


class TrainingError(CharlmError):
    """Training cannot continue: a loss, a gradient or a state is not finite."""


_SPACE = "free some space, or write to another folder"
_DISK = "check the disk, and the connection to it"
_HINTS = {
    "ENOSPC": _SPACE,
    "EDQUOT": _SPACE,
    "EACCES": "write to another folder, or close the program that has it open",
    "EROFS": "write to another folder",
    **dict.fromkeys(("EIO", "ENODEV", "ENXIO", "ENOTCONN", "ESTALE"), _DISK),
}
# A system may lack some: Windows has no quota.
_HINT_OF = {getattr(errno, name): hint for name, hint in _HINTS.items() if hasattr(errno, name)}


def disk_hint(error: OSError) -> str | None:
    """What a user can do about a full, failing or locked disk; None: it is another error."""
    return _HINT_OF.get(error.errno or 0)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, such as torch's, is about too little memory."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("allocate memory", "out of memory")
    )


def shown(value: object) -> str:
    """A value from a file or a command line as part of a message: one line, not a long one."""
    try:
        text = _REPR.repr(value)
    except ValueError:  # an integer of thousands of digits, which Python refuses to print
        text = f"a long {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 text``, ``2,000 texts``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The hint for an unknown name: the nearest known name, else ``otherwise`` or all names."""
    known = list(known)
    # A damaged file may give a name of millions of characters. Comparing it would take minutes.
    close = difflib.get_close_matches(name[:100], known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise or f"known: {', '.join(known)}"


_SHOWN = 120
_REPR = reprlib.Repr()  # unlike repr, it does not copy long or deeply nested values
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN


class Stopped(Exception):  # noqa: N818 - it is not an error
    """Work stopped early because it was asked to. This is not a failure, so not a CharlmError."""
