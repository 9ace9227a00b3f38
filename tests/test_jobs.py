"""The same function in several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.jobs import run_jobs

FUNCTIONS = """
import os, signal, time
from pathlib import Path
from charlm.errors import UsageError

def square(number, job):
    job.note(f"{number} by {os.environ.get('OMP_NUM_THREADS')}")
    return number**2

def fails(number, job):
    if number == 0:
        raise UsageError("a message", "a hint")
    return waits("", job)

def dies(number, job):
    os.kill(os.getpid(), signal.SIGKILL)

def waits(started, job):
    if started:
        Path(started).touch()
    while not job.should_stop():
        time.sleep(0.01)
    if started:
        Path(started).unlink()
    return "stopped"
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module that other processes can import too."""
    (tmp_path / "functions_for_jobs.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import functions_for_jobs  # type: ignore[import-not-found]

    yield functions_for_jobs
    del sys.modules["functions_for_jobs"]


def never() -> bool:
    return False


def test_results_and_notes(functions, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(7), raising=False)
    notes: list[str] = []
    numbers = [(3,), (1,), (2,)]
    found = run_jobs(functions.square, numbers, 2, should_stop=never, note=notes.append)
    assert found == [9, 1, 4]
    assert sorted(notes) == ["1 by 3", "2 by 3", "3 by 3"]  # three of seven cores for each of two
    assert "OMP_NUM_THREADS" not in os.environ


def test_processes_are_asked_to_stop(functions, tmp_path):
    started = tmp_path / "started"
    arguments = [(str(started),), ("",), ("",)]
    found = run_jobs(functions.waits, arguments, 1, should_stop=started.exists, note=print)
    assert found == ["stopped", None, None]


def test_an_error_ends_the_others(functions):
    with pytest.raises(CharlmError) as raised:
        run_jobs(functions.fails, [(0,), (1,)], 2, should_stop=never, note=print)
    assert (raised.value.message, raised.value.hint) == ("a message", "a hint")
    assert raised.value.exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_signals_wait_until_a_process_can_handle_them(functions, tmp_path):
    """Ctrl-C and SIGTERM reach all processes of a terminal, also one that still imports."""
    at_once = f"""
        import os, signal
        if os.getpid() != {os.getpid()}:
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
    """
    file = tmp_path / "functions_for_jobs.py"
    file.write_text(textwrap.dedent(at_once) + FUNCTIONS)
    assert run_jobs(functions.waits, [("",)], 2, should_stop=never, note=print) == ["stopped"]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process(functions):
    with pytest.raises(CharlmError, match="a training process ended by signal 9"):
        run_jobs(functions.dies, [(0,)], 2, should_stop=never, note=print)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_processes_end_with_the_one_that_started_them(functions, tmp_path):
    started = tmp_path / "started"
    script = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from charlm.jobs import run_jobs
        from functions_for_jobs import waits
        if __name__ == "__main__":
            run_jobs(waits, [({str(started)!r},)], 2, should_stop=lambda: False, note=print)
    """
    file = tmp_path / "main.py"
    file.write_text(textwrap.dedent(script))
    with killed_at_the_end([sys.executable, str(file)]) as process:
        wait_until(started.exists)
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not started.exists())


@contextmanager
def killed_at_the_end(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
