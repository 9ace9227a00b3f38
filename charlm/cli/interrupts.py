"""Ctrl-C and SIGTERM: the first one stops a long command cleanly, the second one at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from charlm.errors import Stopped
from charlm.launching import one_of_several

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal has asked the command to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class StopFlag:
    """A flag that a signal sets and a long loop checks after every step."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal_number is not None

    def raise_if_set(self) -> None:
        """Raise `Interrupted` if a signal has arrived."""
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)


_polled: list[StopFlag] = []  # flags of the running loops, the innermost last


def _handle(signal_number: int, frame: FrameType | None) -> None:
    if not _polled:
        raise Interrupted(signal_number)
    _polled[-1].signal_number = signal_number


@contextmanager
def catch_signals() -> Iterator[None]:
    """Handle signals inside the block: set the flag of `polled`, else raise `Interrupted`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    # A process that was started to ignore a signal (`nohup`, a background job) still ignores it.
    handled = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def polled() -> Iterator[StopFlag]:
    """A flag that the first signal sets; the second signal ends the process at once.

    The second signal does not wait for anything: a half-written checkpoint is lost. Code that
    stops because of the flag raises `Stopped`, which becomes `Interrupted` and ends the command.
    """
    flag = StopFlag()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Python calls `_handle` only after a long computation has returned; this thread does not wait.
    threading.Thread(target=_quit_at_second_signal, args=(reader,), daemon=True).start()
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


def _quit_at_second_signal(signals: socket.socket) -> None:
    """Read the numbers of the signals until the other end of the socket is closed."""
    with signals:
        count = 0
        while number := signals.recv(1):
            count += number[0] in _SIGNALS
            # torch's launcher passes a signal on that the system may have sent to all processes.
            if count > (2 if one_of_several() else 1):
                os.write(2, b"\n")  # start a new line below the progress bar
                os._exit(128 + number[0])
