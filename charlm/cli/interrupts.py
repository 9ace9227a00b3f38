"""Ctrl-C and SIGTERM: asked for once, a long command ends in good order; twice, at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from charlm.errors import Stopped


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
    if not _polled:
        raise Interrupted(signal_number)
    _polled[-1].signal_number = signal_number


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
    """Within, the first signal sets the flag; the second ends the process at once.

    At once, whatever it is doing: a checkpoint that is half-written then does not count. What
    ends early by the flag, and says so by `Stopped`, ends the command.
    """
    flag = StopFlag()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Python calls `_handle` only once a step's long computation has come back; this thread does
    # not wait for that.
    threading.Thread(target=_quit_at_the_second, args=(reader,), daemon=True).start()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False) if in_main else -1
    _polled.append(flag)
    try:
        yield flag
    except Stopped:
        flag.raise_if_set()
        raise
    finally:
        _polled.remove(flag)
        if in_main:
            signal.set_wakeup_fd(before)
        writer.close()


def _quit_at_the_second(signals: socket.socket) -> None:
    """Read the numbers of the signals that come, until the other end is closed."""
    with signals:
        count = 0
        while number := signals.recv(1):
            count += number[0] in (signal.SIGINT, signal.SIGTERM)
            if count == 2:
                os.write(2, b"\n")  # below a progress bar
                os._exit(128 + number[0])
