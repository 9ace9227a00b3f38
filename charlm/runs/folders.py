"""Where runs lie: making their folders, finding them, and having one for oneself."""

from __future__ import annotations

import os.path
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path

from filelock import FileLock, Timeout

from charlm.atomic_files import TEMPORARY_FILES, sync_folder
from charlm.errors import RunError, UsageError
from charlm.runs.checkpoint import complete_checkpoints
from charlm.runs.files import read_json

CHECKPOINTS = Path("checkpoints")
LOCK = ".lock"


def run_folders(task: str | None = None) -> list[Path]:
    """The run folders under ``checkpoints``, the newest first.

    Args:
        task: those of this task alone, and those that do not say.
    """
    found = [path.parent for path in CHECKPOINTS.glob("*/run.json")]
    found.sort(key=lambda folder: (folder / "run.json").stat().st_mtime, reverse=True)
    return [folder for folder in found if task is None or _task(folder) in (task, None)]


def _task(folder: Path) -> str | None:
    try:
        about = read_json(folder / "run.json")
    except RunError:  # whoever opens it will be told
        return None
    return about.get("task") if isinstance(about, dict) else None


def newest_run(task: str = "language-model", command: str = "charlm") -> Path:
    """The newest run folder under ``checkpoints`` that has a checkpoint.

    Args:
        task: what it was trained for.
        command: what trains such a run.

    Raises:
        RunError: there is none.
    """
    for folder in run_folders(task):
        if complete_checkpoints(folder):
            return folder
    raise RunError(f"no trained run under {CHECKPOINTS.resolve()}", f"train one: {command} train")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within, no other process may.

    Raises:
        RunError: another process has it.
    """
    # The system gives the lock back when a process ends, however it ends.
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{folder} is in use: another process trains there", "wait for it to end, or stop it"
        ) from None
    except OSError as error:
        raise RunError(f"cannot lock {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_folder(folder: Path | None, name: str) -> Iterator[Path]:
    """Make a folder for a run, and have it for oneself within.

    Args:
        folder: None: one under ``checkpoints``, of the time and ``name``.

    Raises:
        UsageError: the folder holds something already.
        RunError: it cannot be made, or another process makes it.
    """
    made = folder is None or not os.path.lexists(folder)
    try:
        if folder is None:
            folder = _make_new_folder(name)
        else:
            _make_folder(folder)
        left_over = (folder / LOCK).exists()
    except OSError as error:
        where = error.filename or folder or CHECKPOINTS
        raise RunError(f"cannot make the folder {where}: {error.strerror}") from None
    if not left_over:
        _check_free(folder, left_over)  # before a lock of ours is in it
    with locked(folder):
        _check_free(folder, left_over)
        try:
            yield folder
        except BaseException:
            with suppress(OSError):
                if made and [path.name for path in folder.iterdir()] == [LOCK]:
                    (folder / LOCK).unlink()
                    folder.rmdir()
            raise


def _make_folder(folder: Path) -> None:
    """Make it, unless it is there, so that no power cut undoes it.

    Raises:
        UsageError: something else has its name.
    """
    new = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _occupied(folder) from None
    for path in new:
        sync_folder(path.parent)


def _check_free(folder: Path, left_over: bool) -> None:
    """Make sure that a folder is empty, but for what a killed `Run.create` left.

    Raises:
        UsageError: it is not.
        RunError: it cannot be read.
    """
    ours = (LOCK, *(("vocabulary.json", "corpus.txt", TEMPORARY_FILES) if left_over else ()))
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise RunError(f"cannot read {folder}: {error.strerror}") from None
    if not all(any(fnmatch(name, pattern) for pattern in ours) for name in names):
        raise _occupied(folder)


def _occupied(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} exists already", "give --run a new folder, or go on with a run by --resume"
    )


def _make_new_folder(name: str) -> Path:
    """Make one under ``checkpoints`` that no other run has, even if it starts this moment."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    new = not CHECKPOINTS.exists()
    CHECKPOINTS.mkdir(exist_ok=True)
    if new:
        sync_folder(CHECKPOINTS.parent)
    folder, number = CHECKPOINTS / stem, 1
    while True:
        try:
            folder.mkdir()
            sync_folder(CHECKPOINTS)
            return folder
        except FileExistsError:
            number += 1
            folder = CHECKPOINTS / f"{stem}-{number}"
