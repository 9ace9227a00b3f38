"""Run folders: make them, find them, and lock them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from charlm.errors import RunError, UsageError
from charlm.runs import CHECKPOINTS, Run, newest_run, run_folders, run_path
from charlm.runs.checkpoint import FILES, RUN_FILES, record, write_checkpoint
from charlm.runs.folders import LOCK, locked, new_folder
from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL, TAGGING

HOLDER = """
import sys
from pathlib import Path
from charlm.runs.folders import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock inside the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save(folder):
    """Write an empty checkpoint, which is enough for finding the run."""
    about = {name: record((folder / name).read_bytes()) for name in RUN_FILES}
    write_checkpoint(folder, dict.fromkeys(FILES, b""), about, None)


def occupied(folder):
    with pytest.raises(UsageError) as caught, new_folder(folder, "name"):
        raise AssertionError
    assert caught.value.message == f"{folder} exists already"
    assert caught.value.hint == "give --run another name, or add --resume to continue that run"


# Making


def test_parent_folders_are_made(config, corpus, tmp_path):
    run = Run.create(tmp_path / "a" / "b" / "分开", config, corpus)
    assert (tmp_path / "a" / "b" / "分开" / "run.json").is_file()
    assert Run.open(run.folder) == run


@pytest.mark.skipif(os.name == "nt", reason="folders are synced on POSIX only")
@pytest.mark.parametrize(
    ("run", "folder"),
    [
        ("novel", "checkpoints/novel"),
        ("分开 1.0", "checkpoints/分开 1.0"),
        ("empty", "checkpoints/empty"),
        ("checkpoint-000001", "checkpoints/checkpoint-000001"),
        ("./novel", "novel"),
        ("novel/", "novel"),
        ("a/novel", "a/novel"),
        ("checkpoints/novel", "checkpoints/novel"),
        (".", "."),
        ("..", ".."),
        ("here", "here"),
        (Path("novel"), "novel"),
    ],
)
def test_a_bare_name_is_under_checkpoints_and_anything_else_is_a_path(config, corpus, run, folder):
    Path("empty").mkdir()
    Run.create(Path("here"), config, corpus)
    assert run_path(run) == Path(folder)


def test_a_checkpoint_in_the_working_folder_is_a_path(trained, monkeypatch):
    monkeypatch.chdir(trained.folder)
    name = trained.checkpoint.folder.name
    assert run_path(name) == Path(name)
    assert Run.open(name).metrics == trained.metrics


def test_runs_by_name_in_python(config, corpus):
    run = Run.create("novel", config, corpus)
    assert run.folder == CHECKPOINTS / "novel"
    assert Run.open("novel") == Run.open("checkpoints/novel") == Run.open(run.folder) == run
    with pytest.raises(UsageError, match=r"^checkpoints.novel exists already\n"):
        Run.create("novel", config, corpus)
    for name in ("nove", "checkpoints/nove"):
        with pytest.raises(
            RunError, match=r"^nove is not a run folder: .* has no run\.json\n"
        ) as found:
            Run.open(name)
        assert found.value.hint == "did you mean novel?"
    for use in (Run.open, lambda name: Run.create(name, config, corpus)):
        with pytest.raises(UsageError, match="the name of a run is empty"):
            use(" ")


def test_new_folders_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("charlm.runs.folders.sync_folder", synced.append)
    with new_folder(tmp_path / "a" / "b", "name"):
        assert sorted(synced) == [tmp_path, tmp_path / "a"]
    synced.clear()
    (tmp_path / "a" / "c").mkdir()
    with new_folder(tmp_path / "a" / "c", "name"):
        assert synced == []
    with new_folder(None, "name"), new_folder(None, "name"):
        assert synced == [CHECKPOINTS.parent, CHECKPOINTS, CHECKPOINTS]


def test_empty_folder_is_used_and_run_folder_is_refused(config, corpus, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Run.create(folder, config, corpus)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    occupied(folder)
    with pytest.raises(UsageError, match="exists already"):
        Run.create(folder, config, corpus)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "mine",
    [
        ["novel.txt"],
        [".keep"],
        ["corpus.txt", "vocabulary.json"],
        ["checkpoint-000001"],
        [".novel.txt.1.tmp"],
        [".lock", "run.json"],
        [".lock", "checkpoint-000001"],
        [".lock", "corpus.txt", "novel.txt"],
    ],
)
def test_folder_with_files_is_refused_and_not_changed(tmp_path, config, corpus, mine):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in mine:
        (folder / name).write_text("mine")
    for _ in range(3):  # a refusal must not leave a file behind that changes the next answer
        occupied(folder)
        with pytest.raises(UsageError):
            Run.create(folder, config, corpus)
        assert names(folder) == sorted(mine)
        assert {(folder / name).read_text() for name in mine if name != ".lock"} <= {"mine"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_file_or_link_in_place_of_the_folder_is_refused(tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    occupied(path)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["file/run", "a" * 300, "file/a/b"])
def test_folder_that_cannot_be_made(tmp_path, one_line, name):
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as caught, new_folder(tmp_path / name, "name"):
        raise AssertionError
    assert one_line(caught.value).startswith(f"cannot make the folder {tmp_path / name}: ")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_checkpoints_folder_that_cannot_be_made(tmp_path, one_line, kind):
    if kind == "file":
        CHECKPOINTS.touch()
    else:
        CHECKPOINTS.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError) as caught, new_folder(None, "name"):
        raise AssertionError
    assert one_line(caught.value).startswith("cannot make the folder checkpoints: ")


def test_default_name_is_time_corpus_and_cell(config, corpus, monkeypatch):
    """Runs that start in the same second get a number."""
    moment = time.localtime(1_700_000_000)
    stamp = time.strftime("%Y%m%d-%H%M%S", moment)
    monkeypatch.setattr(time, "strftime", lambda form, f=time.strftime: f(form, moment))
    runs = [Run.create(None, config, corpus) for _ in range(3)]
    lstm = dataclasses.replace(config, model=dataclasses.replace(config.model, cell="lstm"))
    runs.append(Run.create(None, lstm, corpus))
    assert [run.folder for run in runs] == [
        CHECKPOINTS / f"{stamp}-novel-{rest}" for rest in ("gru", "gru-2", "gru-3", "lstm")
    ]
    assert re.fullmatch(r"\d{8}-\d{6}", stamp)
    assert all(Run.open(run.folder) == run for run in runs)


def test_runs_that_start_together_get_different_folders(config, corpus):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.create(None, config, corpus), range(24)))
    assert len({run.folder for run in runs}) == 24
    assert len(run_folders()) == 24


# Finding


def test_newest_run_is_the_newest_with_a_checkpoint(config, corpus):
    for index, name in enumerate(["b", "a", "c", "d"]):
        run = Run.create(CHECKPOINTS / name, config, corpus)
        if name != "d":
            save(run.folder)
        os.utime(run.folder / "run.json", (1000 + index, 1000 + index))
    (CHECKPOINTS / "d" / "checkpoint-000001").mkdir()  # incomplete
    (CHECKPOINTS / "e").mkdir()
    (CHECKPOINTS / "README.md").touch()
    assert [folder.name for folder in run_folders()] == ["d", "c", "a", "b"]
    assert newest_run(LANGUAGE_MODEL) == CHECKPOINTS / "c"
    os.utime(CHECKPOINTS / "b" / "run.json", (2000, 2000))
    assert newest_run(LANGUAGE_MODEL) == CHECKPOINTS / "b"


def test_no_trained_run(config, corpus, tmp_path, one_line):
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            newest_run(LANGUAGE_MODEL)
        message = f"no trained run under {tmp_path / 'checkpoints'}"
        assert one_line(caught.value) == message
        assert caught.value.hint == "train one: charlm train"
        Run.create(None, config, corpus)  # without a checkpoint
    assert len(run_folders()) == 2


def made(name, task, order):
    """A folder that is found as a run. Of two, the one with the higher order is newer."""
    folder = CHECKPOINTS / name
    folder.mkdir(parents=True)
    text = task if isinstance(task, bytes) else json.dumps({"task": task}).encode()
    (folder / "run.json").write_bytes(text)
    (folder / "vocabulary.json").write_text("[]")
    save(folder)
    os.utime(folder / "run.json", (1000 + order, 1000 + order))


def test_runs_are_found_by_task():
    tasks = ["tag", "classify", "language-model", "tag", "classify", "tags", 3, ["tag"], "", True]
    for order, task in enumerate(tasks):
        made(f"{order}", task, order)
    assert [folder.name for folder in run_folders()] == list("9876543210")
    assert [folder.name for folder in run_folders(TAGGING)] == ["3", "0"]
    assert [folder.name for folder in run_folders(CLASSIFICATION)] == ["4", "1"]
    assert [folder.name for folder in run_folders(LANGUAGE_MODEL)] == ["2"]
    assert newest_run(TAGGING).name == "3"
    assert newest_run(LANGUAGE_MODEL).name == "2"
    (CHECKPOINTS / "3" / "checkpoint-000001" / "manifest.json").unlink()
    assert newest_run(TAGGING).name == "0"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"task": null}', b"[" * 10_000]
)
def test_run_with_unreadable_task_is_found_for_every_task(content):
    """The user is told of the damage when the run is opened."""
    made("whole", "tag", 0)
    made("damaged", content, 1)
    for task in (None, TAGGING):
        assert [folder.name for folder in run_folders(task)] == ["damaged", "whole"]
    assert [folder.name for folder in run_folders(CLASSIFICATION)] == ["damaged"]
    assert newest_run(TAGGING).name == "damaged"


@pytest.mark.parametrize("task", [TAGGING, CLASSIFICATION])
def test_hint_names_the_train_command_of_the_task(task, one_line):
    made("text", "language-model", 0)
    with pytest.raises(RunError) as caught:
        newest_run(task)
    assert one_line(caught.value).startswith("no trained run under ")
    assert caught.value.hint == f"train one: {task.command} train"


# The lock


def in_use(folder, one_line):
    with pytest.raises(RunError) as caught, locked(folder):
        raise AssertionError
    assert one_line(caught.value) == f"{folder} is in use: another process is training there"
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_lock_is_held_until_the_process_ends(run, corpus, one_line):
    with held(run.folder) as process:
        in_use(run.folder, one_line)
        with pytest.raises(RunError, match="is in use"), run.locked():
            raise AssertionError
        with pytest.raises(RunError, match="is in use"):
            Run.create(run.folder, run.config, corpus)
        assert Run.open(run.folder) == run  # reading needs no lock
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0
        with run.locked():
            pass


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_lock_of_a_killed_process_is_released(run, one_line):
    with held(run.folder) as process:
        in_use(run.folder, one_line)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        assert (run.folder / LOCK).exists()
        with run.locked():
            pass


def test_folder_that_another_process_is_making_is_refused(tmp_path, config, corpus):
    folder = tmp_path / "new"
    folder.mkdir()
    with locked(folder), pytest.raises(RunError, match="is in use"):
        Run.create(folder, config, corpus)
    assert Run.create(folder, config, corpus).folder == folder


def test_lock_is_released_after_an_error(tmp_path, one_line):
    def fail(error):
        with locked(tmp_path):
            in_use(tmp_path, one_line)
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"left by an old process"])
def test_lock_file_alone_does_not_lock(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with locked(tmp_path):
        pass


def test_folder_that_cannot_be_locked(tmp_path, monkeypatch, one_line):
    def acquire(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(RunError) as caught, locked(tmp_path):
        raise AssertionError
    assert one_line(caught.value) == f"cannot lock {tmp_path}: Permission denied"


def test_incomplete_checkpoints_are_deleted_under_the_lock(trained):
    incomplete = trained.folder / "checkpoint-000009"
    incomplete.mkdir()
    (incomplete / "last.safetensors").write_bytes(b"x")
    (trained.folder / ".summary.json.1.tmp").write_bytes(b"x")
    with trained.locked():
        assert not incomplete.exists()
        assert not list(trained.folder.glob(".*.tmp"))
    assert Run.open(trained.folder) == trained
