"""Ctrl-C and SIGTERM: asked for once, a long command ends in good order; twice, at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class StopFlag:
    """Says whether a signal has come, for a loop that asks after every step."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal_number is not None

    def raise_if_set(self) -> None:
        """End the command with the signal's exit code.

        Raises:
            Interrupted: a signal has come.
        """
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


_polled: list[StopFlag] = []  # the flag of the loop that asks, if one runs


def _handle(signal_number: int, frame: FrameType | None) -> None:
    if _polled and not _polled[-1]():
        _polled[-1].signal_number = signal_number
    else:
        raise Interrupted(signal_number)


@contextmanager
def catch_signals() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise `Interrupted`, or set the flag of `polled`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    # What was told to ignore a signal (`nohup`, a background job) goes on ignoring it.
    heeded = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = {number: signal.signal(number, _handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def polled() -> Iterator[StopFlag]:
    """Within, the first signal only sets the flag; the second raises `Interrupted`."""
    flag = StopFlag()
    _polled.append(flag)
    try:
        yield flag
    finally:
        _polled.remove(flag)
