"""Windows by simulation: a file that is open is neither replaced nor deleted.

Windows refuses that, whether another program has the file open or charlm itself. Each call that
Windows would refuse raises what Python raises there.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charlm import atomic_files
from charlm.cli import run as charlm
from charlm.errors import CharlmError
from charlm.runs import Run
from charlm.runs.checkpoint import complete_checkpoints
from charlm.runs.files import read_file
from charlm.runs.folders import LOCK, new_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")

TRAIN = (
    "train --quiet --epochs 1 --cell gru --hidden-size 4 --batch-size 8 --seq-len 20 "
    "--max-chars 4000 --device cpu --prefix The --set sample_length=5 --run"
)


class Windows:
    """Refuses what Windows refuses."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.held: set[str] = set()
        """the ends of the paths that another program has open"""
        self.slept: list[float] = []
        patch.setattr(atomic_files, "time", SimpleNamespace(sleep=self._sleep))
        patch.setattr(shutil, "_use_fd_functions", False)  # Windows deletes by path
        for name in ("replace", "rename", "unlink", "remove"):
            patch.setattr(os, name, self._checked(getattr(os, name)))
        patch.setattr(Path, "open", self._opened(Path.open))
        self.release_after: int | None = None

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self.release_after:
            self.held.clear()

    def _is_open(self, path: Any) -> bool:
        whole = os.path.realpath(path)
        here = set()
        for number in os.listdir("/proc/self/fd"):
            try:
                here.add(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:  # that of the listing
                continue
        mapped = Path("/proc/self/maps").read_text()
        return self.holds(path) or whole in here or f"{whole}\n" in mapped

    def holds(self, path: Any) -> bool:
        return os.fspath(path).endswith(tuple(self.held))

    def _checked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*paths: Any, **options: Any) -> Any:
            for path in paths:
                if self._is_open(path):
                    raise refused(path)
            return call(*paths, **options)

        return checked

    def _opened(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if self.holds(path) and set(mode) & set("wa+"):
                raise refused(path)
            return call(path, mode, *rest, **options)

        return opened


def refused(path: Any) -> PermissionError:
    text = "The process cannot access the file because it is being used by another process"
    error = PermissionError(errno.EACCES, text, os.fspath(path))
    error.winerror = 32  # type: ignore[attr-defined]
    return error


@pytest.fixture
def windows(monkeypatch) -> Windows:
    return Windows(monkeypatch)


@pytest.mark.parametrize("tries", [1, 5])
def test_a_file_that_is_open_for_a_moment_is_replaced(tmp_path, windows, tries):
    """A virus scanner opens new files for a moment."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    windows.held, windows.release_after = {"a.bin"}, tries
    atomic_files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(windows.slept) == tries


def test_a_file_that_a_scanner_has_for_itself_is_read_later(tmp_path, windows, monkeypatch):
    def opened(path: Any, *rest: Any, real: Any = os.open, **options: Any) -> int:
        if windows.holds(path):
            raise refused(path)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", opened)
    (tmp_path / "a.bin").write_bytes(b"whole")
    windows.held, windows.release_after = {"a.bin"}, 3
    assert read_file(tmp_path / "a.bin", 10) == b"whole"
    windows.held, windows.release_after = {"a.bin"}, None
    with pytest.raises(CharlmError, match=r"^cannot read .*a\.bin: The process cannot access"):
        read_file(tmp_path / "a.bin", 10)


def test_a_file_that_stays_open_is_kept(tmp_path, windows):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    windows.held = {"a.bin"}
    with pytest.raises(PermissionError, match="used by another process"):
        atomic_files.write_atomic(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.bin": b"old"}
    assert sum(windows.slept) == pytest.approx(1.44)


def test_a_refusal_that_is_no_question_of_time_is_told_at_once(tmp_path, windows, monkeypatch):
    def replace(old: Any, new: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError):
        atomic_files.write_atomic(tmp_path / "a.bin", b"new")
    assert windows.slept == []


def test_checkpoints_that_are_read_are_deleted_later(saved, windows, contents):
    for held in ("manifest.json", "best.safetensors"):
        run = saved.copy()
        oldest = complete_checkpoints(run.folder)[-1]
        with (oldest / held).open("rb"):
            run.save(**saved.states[0])
            assert oldest.exists()
            opened = Run.open(run.folder)
            assert (opened.checkpoint, opened.notices) == (run.checkpoint, ())
            assert contents(run.checkpoint.folder) == saved.after[0]
        with run.locked():
            run.save(**saved.states[1])
        assert len(list(run.folder.glob("checkpoint-*"))) == 2


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(saved, windows, contents):
    run = saved.copy()
    windows.held = {f".training.json.{os.getpid()}.tmp"}
    with pytest.raises(CharlmError, match="used by another process") as caught:
        run.save(**saved.states[0])
    assert "earlier checkpoints are unchanged" in caught.value.hint
    windows.held = set()
    run = Run.open(run.folder)
    assert run.notices == ()
    assert contents(run.checkpoint.folder) == saved.before
    with run.locked():
        run.save(**saved.states[0])
    assert contents(run.checkpoint.folder) == saved.after[0]


def test_a_training_goes_on_beside_open_viewers(working_folder, windows, no_left_over, capsys):
    """It also holds none of its own files open while it replaces or deletes them."""
    files = ("metrics.jsonl", "summary.json", "report.html")
    train = [*TRAIN.split(), "run"]
    assert charlm(train) == 0
    assert capsys.readouterr().err == ""
    no_left_over(Path("checkpoints/run"), *files)
    viewed = [Path("checkpoints/run/report.html"), Path("checkpoints/run/metrics.jsonl")]
    before = [path.read_bytes() for path in viewed]
    longer = [*train, "--resume", "--set", "epochs=2"]
    windows.held = {"run/report.html", "run/metrics.jsonl"}
    assert charlm(longer) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["warning"] * 2
    assert [path.read_bytes() for path in viewed] == before
    windows.held = {"summary.json"}
    assert charlm(longer) == 1  # there is nothing left to train
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: cannot write checkpoints/run/summary.json: The process cannot")
    assert hint.endswith("close the program that has it open")
    no_left_over(Path("checkpoints/run"), *files)


def test_a_folder_whose_making_fails_can_be_used_again(tmp_path, windows):
    """The lock file is open, so Windows keeps it."""
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="wrong"), new_folder(folder, "name"):
        raise ValueError("wrong")
    assert [path.name for path in folder.iterdir()] == [LOCK]
    with new_folder(folder, "name"):
        pass


@pytest.mark.parametrize("name", ["a?b", "NUL", "x" * 240])
def test_names_that_windows_refuses(working_folder, monkeypatch, capsys, name):
    def mkdir(path: Any, *rest: Any, real: Any = os.mkdir) -> None:
        if name in os.fspath(path):
            raise OSError(errno.EINVAL, "The directory name is invalid", path)
        real(path, *rest)

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert charlm([*TRAIN.split(), name]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert (
        error == f"error: cannot make the folder checkpoints/{name}: The directory name is invalid"
    )
