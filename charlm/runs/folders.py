"""Make, find and lock run folders."""

from __future__ import annotations

import os.path
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path

from charlm.atomic_files import TEMPORARY_FILES, sync_folder
from charlm.errors import RunError, UsageError, shown
from charlm.home import with_home
from charlm.runs.checkpoint import complete_checkpoints, is_checkpoint
from charlm.runs.files import os_errors, read_json
from charlm.task import Task

CHECKPOINTS = Path("checkpoints")
LOCK = ".lock"
_CONTROL = {chr(code) for code in (*range(32), 127)}
_FIRST_FILES = ("vocabulary.json", "corpus.txt")  # `Run.create` writes run.json after them


def run_path(run: str | Path) -> Path:
    """The folder of a run that a user names.

    A bare name, without a separator, is the folder of that name under ``checkpoints``. Anything
    else is a path: text with a separator, ``.`` and ``..``, the path of an existing run or of a
    checkpoint in one, and every `Path`.

    Raises:
        UsageError: the name is blank or has a control character, such as a line end.
    """
    run = with_home(run)
    path = Path(run)
    if isinstance(run, Path):
        return path
    if not run.strip():
        raise UsageError("the name of a run is empty", "charlm runs list shows the runs")
    if not _CONTROL.isdisjoint(run):
        raise UsageError(f"the name of a run has a control character: {shown(run)}", "leave it out")
    bare = path.name == run != ".."
    return CHECKPOINTS / run if bare and not _is_run(path) else path


def _is_run(path: Path) -> bool:
    """Whether a path is a run folder, or a checkpoint in one."""
    folders = (path, path.parent) if is_checkpoint(path) else (path,)
    # Not Path.is_file, which raises on a long name.
    return any(os.path.isfile(folder / "run.json") for folder in folders)


def run_folders(task: Task | None = None) -> list[Path]:
    """The run folders under ``checkpoints``, the newest first.

    Args:
        task: return only the runs of this task and the runs whose task cannot be read; None: all.
    """
    found = [path.parent for path in CHECKPOINTS.glob("*/run.json")]
    found.sort(key=lambda folder: (folder / "run.json").stat().st_mtime, reverse=True)
    return [folder for folder in found if task is None or _task(folder) in (task.name, None)]


def _task(folder: Path) -> str | None:
    try:
        about = read_json(folder / "run.json")
    except RunError:  # opening the run reports the damage
        return None
    return about.get("task") if isinstance(about, dict) else None


def newest_run(task: Task | None = None) -> Path:
    """The newest run folder under ``checkpoints`` that has a checkpoint; of a task, or of any.

    Raises:
        RunError: there is none.
    """
    for folder in run_folders(task):
        if complete_checkpoints(folder):
            return folder
    raise RunError(
        f"no trained run under {CHECKPOINTS.resolve()}",
        f"train one: {task.command if task else 'charlm'} train",
    )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder's lock inside the block.

    Raises:
        RunError: another process holds it.
    """
    from filelock import FileLock, Timeout  # reading needs no lock

    # The operating system releases the lock when a process ends, even if it is killed.
    lock = FileLock(folder / LOCK)
    with os_errors(f"cannot lock {folder}"):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{folder} is in use: another process is training there",
                "wait for it to end, or stop it",
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def new_folder(folder: Path | None, name: str) -> Iterator[Path]:
    """Make a folder for a run (None: ``checkpoints/<time>-<name>``); hold its lock in the block.

    If the block fails, the files of the run are deleted again, so that the folder can be used.

    Raises:
        UsageError: the folder exists and is not empty.
        RunError: the folder cannot be made, or another process is making it.
    """
    made = folder is None or not os.path.lexists(folder)
    try:
        if folder is None:
            folder = _make_new_folder(name)
        else:
            _make_folder(folder)
        left_over = (folder / LOCK).exists()
    except OSError as error:
        if folder is not None and isinstance(error, FileExistsError):  # a file has this name
            raise _occupied(folder) from None
        where = error.filename or folder or CHECKPOINTS
        raise RunError(f"cannot make the folder {where}: {error.strerror}") from None
    if not left_over:
        _check_free(folder, left_over)  # before the lock file is made
    with locked(folder):
        _check_free(folder, left_over)
        try:
            yield folder
        except BaseException:
            for name in ("run.json", *_FIRST_FILES):
                with suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                if made and [path.name for path in folder.iterdir()] == [LOCK]:
                    (folder / LOCK).unlink()
                    folder.rmdir()
            raise


def _make_folder(folder: Path) -> None:
    """Make the folder, unless it exists, and sync its parents so that it survives a power cut."""
    new = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync_folder(path.parent)


def _check_free(folder: Path, left_over: bool) -> None:
    """Check that a folder is empty, except for the files of a killed `Run.create`."""
    ours = (LOCK, *((*_FIRST_FILES, TEMPORARY_FILES) if left_over else ()))
    with os_errors(f"cannot read {folder}"):
        names = [path.name for path in folder.iterdir()]
    if not all(any(fnmatch(name, pattern) for pattern in ours) for name in names):
        raise _occupied(folder)


def _occupied(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} exists already", "give --run another name, or add --resume to continue that run"
    )


def timed_folder(name: str) -> Path:
    """``checkpoints/<time>-<name>``, for a run that begins now."""
    return CHECKPOINTS / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"


def _make_new_folder(name: str) -> Path:
    """Make a folder under ``checkpoints`` whose name no other run has, even one that starts now."""
    first, number = timed_folder(name), 1
    _make_folder(CHECKPOINTS)
    folder = first
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
            sync_folder(CHECKPOINTS)
            return folder
        number += 1
        folder = CHECKPOINTS / f"{first.name}-{number}"
