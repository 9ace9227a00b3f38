"""Signals that are sent to the test process; each test restores the handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from charlm.cli import interrupts
from charlm.cli.interrupts import Interrupted, catch_signals, polled
from charlm.errors import Stopped

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of the test process, restored after the test; no flag remains."""
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts._polled.clear()


def send(number: int) -> None:
    """Send this thread a signal, which Python handles before the next line."""
    signal.raise_signal(number)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_code_without_a_flag(number, code):
    with pytest.raises(Interrupted) as caught, catch_signals():
        send(number)
    assert caught.value.exit_code == code


def test_except_exception_does_not_catch_an_interruption():
    assert not issubclass(Interrupted, Exception)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_first_signal_sets_the_flag(number, code):
    with catch_signals(), polled() as stop:
        assert stop() is False
        stop.raise_if_set()
        send(number)
        assert stop()
        assert stop.signal_number == number
        with pytest.raises(Interrupted) as caught:
            stop.raise_if_set()
    assert caught.value.exit_code == code


# The main thread is in a computation that does not return to Python.
BUSY = """
import os, signal, sys, threading, time
from charlm.cli.interrupts import catch_signals, polled

def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0.3)
    time.sleep(30)
    print("still here", flush=True)

with catch_signals(), polled() as stop:
    threading.Thread(target=send, args=[int(word) for word in sys.argv[1:]]).start()
    import ctypes
    ctypes.CDLL(None).pause()  # a signal ends this call
    while True:
        ctypes.CDLL(None).sleep(60)
"""


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGTERM), 143),
        ((signal.SIGTERM, signal.SIGINT), 130),
    ],
)
def test_the_second_signal_ends_the_process_at_once(numbers, code):
    command = [sys.executable, "-c", BUSY, *(str(int(number)) for number in numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr == "\n"


def test_after_the_loop_a_signal_raises_again():
    with catch_signals():
        with polled() as stop:
            pass
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
        assert not stop()


def test_a_flag_is_removed_after_an_error():
    with pytest.raises(ZeroDivisionError), polled():
        1 / 0  # noqa: B018
    with catch_signals(), pytest.raises(Interrupted):
        send(signal.SIGINT)
    assert interrupts._polled == []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_stopping_because_of_the_flag_ends_the_command(number, code):
    def work(stop):
        send(number)
        if stop():
            raise Stopped

    with catch_signals():
        with pytest.raises(Interrupted) as caught, polled() as stop:
            work(stop)
        assert caught.value.exit_code == code
        assert interrupts._polled == []
        with pytest.raises(Interrupted):  # as outside of the loop
            send(number)


def test_stopping_without_a_signal_is_not_an_interruption():
    with pytest.raises(Stopped), polled():
        raise Stopped
    assert interrupts._polled == []


def test_a_stopped_inner_loop_ends_the_outer_one_too():
    def work():
        with polled() as inner:
            send(signal.SIGTERM)
            if inner():
                raise Stopped

    with catch_signals():
        with pytest.raises(Interrupted) as caught, polled() as outer:
            work()
        assert caught.value.exit_code == 143
        assert not outer()
    assert interrupts._polled == []


def test_another_error_after_a_signal_is_raised_unchanged():
    def work():
        send(signal.SIGINT)
        return 1 / 0

    with catch_signals(), pytest.raises(ZeroDivisionError), polled():
        work()


def test_the_signal_sets_the_innermost_flag():
    with catch_signals(), polled() as outer, polled() as inner:
        send(signal.SIGINT)
        assert inner()
        assert not outer()


def test_the_handlers_are_restored(handlers):
    with catch_signals():
        assert all(signal.getsignal(number) is interrupts._handle for number in handlers)
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    with pytest.raises(Interrupted), catch_signals():
        send(signal.SIGTERM)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_another_thread_sets_no_handler(handlers):
    seen = []

    def work():
        with catch_signals():
            seen.extend(signal.getsignal(number) for number in handlers)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == list(handlers.values())


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with catch_signals():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.signal(signal.SIGTERM, signal.SIG_IGN) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
