"""The same function in several processes, which save and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, cast

from charlm.errors import CharlmError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK = 0.2  # seconds between two looks at ``should_stop``


class Job(NamedTuple):
    """What a function in a process of its own gets after its arguments."""

    should_stop: Callable[[], bool]
    note: Callable[[str], object]  # shows a line to the user


Function = Callable[..., Any]
"""Called with the arguments of a process and its `Job`; what it gets and returns is pickled."""


def run_jobs(
    function: Function,
    arguments: Sequence[tuple[Any, ...]],
    jobs: int,
    *,
    should_stop: Callable[[], bool],
    note: Callable[[str], object],
) -> list[Any]:
    """The results of a function for each of some arguments, from as many processes.

    When ``should_stop`` returns True, the running processes are asked to stop, no other one starts,
    and the missing results are None. If this process ends, even by a signal that cannot be handled,
    the other ones are asked to stop too.

    Args:
        jobs: how many processes there are at once.

    Raises:
        CharlmError: one of the functions raised it, or a process was killed. The others were asked
            to stop and have ended.
    """
    context = multiprocessing.get_context("spawn")  # torch cannot be forked
    results: list[Any] = [None] * len(arguments)
    waiting, running = list(range(len(arguments))), dict[Connection, tuple[int, Any]]()
    failure: CharlmError | None = None
    told = False
    try:
        with _threads_for_each(jobs):
            while waiting or running:
                stopping = failure is not None or should_stop()
                if stopping:
                    waiting.clear()
                    if not told:
                        _tell(running)
                    told = True
                while waiting and len(running) < jobs:
                    place, (here, there) = waiting.pop(0), context.Pipe()
                    process = context.Process(
                        target=_in_process, args=(there, function, arguments[place])
                    )
                    with _signals_wait():
                        process.start()
                    there.close()  # so that the other end notices the end of the process
                    running[here] = place, process
                for connection in cast("list[Connection]", wait([*running], timeout=LOOK)):
                    kind, value = _received(connection)
                    if kind == "note":
                        note(value)
                        continue
                    place, process = running.pop(connection)
                    process.join()
                    connection.close()
                    if kind == "result":
                        results[place] = value
                    elif failure is None:
                        failure = value if kind == "error" else _killed(process.exitcode)
    finally:
        _tell(running)
        for _, process in running.values():
            process.join()
    if failure is not None:
        raise failure
    return results


def _tell(running: dict[Connection, tuple[int, Any]]) -> None:
    """Ask the processes to stop."""
    for connection in running:
        with suppress(OSError):  # the process has just ended
            connection.send("stop")


def _received(connection: Connection) -> tuple[str, Any]:
    try:
        kind, value = connection.recv()
        return kind, value
    except (EOFError, OSError):
        return "end", None


def _killed(code: int | None) -> CharlmError:
    if code is not None and code < 0:
        how, hint = f"by signal {-code}", "memory may be full; give the command again to continue"
    else:
        how, hint = (
            f"with exit code {code}",
            "this is a bug in charlm; please report the lines above",
        )
    return CharlmError(f"a training process ended {how}", hint)


def _in_process(connection: Connection, function: Function, arguments: tuple[Any, ...]) -> None:
    """What a process does."""
    # Ctrl-C on a terminal goes to all processes: only the first one acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def should_stop() -> bool:
        try:
            return ended.is_set() or connection.poll()  # also if the other end is closed
        except OSError:
            return True

    def send(kind: str, value: Any) -> None:
        with suppress(OSError):  # the first process has ended
            connection.send((kind, value))

    try:
        send("result", function(*arguments, Job(should_stop, lambda text: send("note", text))))
    except CharlmError as error:
        send("error", error)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold signals back in the block; in a process that starts there, until it can handle them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # if it started in the block, it would let signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_for_each(jobs: int) -> Iterator[None]:
    """Share the cores among the processes that start in the block, unless the user has done so."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # see `charlm.threads.threads_given`
    if jobs == 1 or any(os.environ.get(name) for name in names):
        yield
        return
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    os.environ[names[0]] = str(max(1, cores // jobs))
    try:
        yield
    finally:
        del os.environ[names[0]]
