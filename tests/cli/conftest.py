"""Run commands as a user types them, in one process and in an empty working folder."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from charlm.cli import run


class Outcome(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON of a command that succeeded."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The message of a command that printed one error, at most one hint, and no result."""
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith(("error:", "hint:"))]
        assert [line.partition(":")[0] for line in lines] in (["error"], ["error", "hint"])
        assert all(line.isprintable() and len(line) < 400 for line in lines)
        return lines[0].removeprefix("error: ")

    @property
    def hint(self) -> str:
        """The hint below the error."""
        assert self.error
        return self.err.splitlines()[-1].removeprefix("hint: ")


@pytest.fixture(autouse=True)
def folder(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; commands in a separate process have an empty cache, too."""
    monkeypatch.setenv("CHARLM_CORPORA", str(working_folder / "corpora"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(working_folder / "cache"))
    return working_folder


@pytest.fixture
def charlm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Runs a command in this process."""

    def command(*arguments: object, stdin: bytes = b"") -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        outcome = Outcome(run([str(argument) for argument in arguments]), *capsys.readouterr())
        assert ("Traceback" in outcome.err) == (outcome.code == 3), outcome.err
        return outcome

    return command


@pytest.fixture
def handled() -> Iterator[None]:
    """Ctrl-C is not ignored: a background process ignores it, and its children would too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
