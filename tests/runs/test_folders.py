"""Where runs lie: making their folders, finding them, and having one for oneself."""

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
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock

from charlm.errors import RunError, UsageError
from charlm.runs import CHECKPOINTS, Run, newest_run, run_folders
from charlm.runs.checkpoint import FILES, RUN_FILES, record, write_checkpoint
from charlm.runs.folders import LOCK, locked, new_folder

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
    """Within, another process has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save(folder):
    """A checkpoint, as far as finding one goes."""
    about = {name: record((folder / name).read_bytes()) for name in RUN_FILES}
    write_checkpoint(folder, dict.fromkeys(FILES, b""), about, None)


def occupied(folder):
    with pytest.raises(UsageError) as caught, new_folder(folder, "name"):
        raise AssertionError
    assert caught.value.message == f"{folder} exists already"
    assert caught.value.hint == "give --run a new folder, or go on with a run by --resume"


# Making


def test_folders_in_between_are_made(config, corpus, tmp_path):
    run = Run.create(tmp_path / "a" / "b" / "分开", config, corpus)
    assert (tmp_path / "a" / "b" / "分开" / "run.json").is_file()
    assert Run.open(run.folder) == run


@pytest.mark.skipif(os.name == "nt", reason="folders are synced on POSIX only")
def test_the_names_of_made_folders_are_synced(tmp_path, monkeypatch):
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


def test_an_empty_folder_is_taken_and_a_run_refused(config, corpus, tmp_path):
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
        ["novel.txt"], [".keep"], ["corpus.txt"], ["vocabulary.json"], ["run.json"],
        ["corpus.txt", "vocabulary.json"], ["checkpoint-000001"], [".novel.txt.1.tmp"],
        ["summary.json"], [".lock", "novel.txt"], [".lock", "run.json"],
        [".lock", "checkpoint-000001"], [".lock", "corpus.txt", "novel.txt"],
    ],
)  # fmt: skip
def test_a_folder_of_the_users_own_is_never_taken_nor_changed(tmp_path, config, corpus, mine):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in mine:
        (folder / name).write_text("mine")
    for _ in range(3):  # the first refusal must leave nothing that lets the next one in
        occupied(folder)
        with pytest.raises(UsageError):
            Run.create(folder, config, corpus)
        assert names(folder) == sorted(mine)
        assert {path.read_text() for path in folder.iterdir()} == {"mine"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_else_is_in_the_way(tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_bytes(b"mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    occupied(path)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["file/run", "a" * 300, "file/a/b"])
def test_a_folder_that_cannot_be_made(tmp_path, one_line, name):
    (tmp_path / "file").touch()
    with pytest.raises(RunError) as caught, new_folder(tmp_path / name, "name"):
        raise AssertionError
    assert one_line(caught.value).startswith(f"cannot make the folder {tmp_path / name}: ")


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_checkpoints_folder_that_cannot_be_made(tmp_path, one_line, kind):
    if kind == "file":
        CHECKPOINTS.touch()
    else:
        CHECKPOINTS.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError) as caught, new_folder(None, "name"):
        raise AssertionError
    assert one_line(caught.value).startswith("cannot make the folder checkpoints: ")


def test_the_names_that_a_folder_gets(config, corpus, monkeypatch):
    """Time, corpus and cell; a number where a run has begun in the same second."""
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


def test_runs_that_begin_at_the_same_moment_do_not_share_a_folder(config, corpus):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.create(None, config, corpus), range(24)))
    assert len({run.folder for run in runs}) == 24
    assert len(run_folders()) == 24


# Left-overs


class Killed(BaseException):
    pass


@pytest.mark.parametrize("source", ["-", "novel"])
@pytest.mark.parametrize("moment", range(14))
def test_what_a_killed_making_left_is_taken_over(
    config, corpus, novel, tmp_path, monkeypatch, source, moment
):
    """Killed at each call that writes; nothing is tidied up."""
    kept = novel if source == "-" else None
    config = dataclasses.replace(
        config, corpus=dataclasses.replace(config.corpus, source="-" if kept else str(novel))
    )
    folder, calls = tmp_path / "run", iter(range(100))

    def until_then(original):
        def call(*arguments):
            if next(calls) >= moment:
                raise Killed
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("write", "fsync", "replace"):
            patch.setattr(os, name, until_then(getattr(os, name)))
        patch.setattr(os, "unlink", lambda *arguments, **options: None)
        with suppress(Killed):
            Run.create(folder, config, corpus, kept)
    if not (folder / "run.json").exists():
        Run.create(folder, config, corpus, kept)
    opened = Run.open(folder)
    assert opened.vocabulary == corpus.vocabulary
    assert opened.load_corpus().characters == corpus.characters
    with opened.locked():
        assert {*names(folder)} - {"corpus.txt"} == {LOCK, "run.json", "vocabulary.json"}


@pytest.mark.parametrize("failing", range(5 if os.name != "nt" else 2))
def test_a_making_that_fails_leaves_no_half_a_run(
    config, corpus, tmp_path, monkeypatch, one_line, failing
):
    """Not even where only the last thing failed, when run.json had its name already."""
    folder, calls = tmp_path / "run", iter(range(100))

    def fsync(number, original=os.fsync):
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(RunError) as caught:
            Run.create(folder, config, corpus)
    assert one_line(caught.value).endswith(": No space left on device")
    assert str(folder) in caught.value.message
    assert names(folder) == [] if failing == 0 else not folder.exists()
    assert Run.create(folder, config, corpus) == Run.open(folder)


# Finding


def test_the_newest_run_is_the_newest_with_a_checkpoint(config, corpus):
    for index, name in enumerate(["b", "a", "c", "d"]):
        run = Run.create(CHECKPOINTS / name, config, corpus)
        if name != "d":
            save(run.folder)
        os.utime(run.folder / "run.json", (1000 + index, 1000 + index))
    (CHECKPOINTS / "d" / "checkpoint-000001").mkdir()  # half-written
    (CHECKPOINTS / "e").mkdir()
    (CHECKPOINTS / "README.md").touch()
    assert [folder.name for folder in run_folders()] == ["d", "c", "a", "b"]
    assert newest_run() == CHECKPOINTS / "c"
    os.utime(CHECKPOINTS / "b" / "run.json", (2000, 2000))
    assert newest_run() == CHECKPOINTS / "b"


def test_no_trained_run(config, corpus, tmp_path, one_line):
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            newest_run()
        message = f"no trained run under {tmp_path / 'checkpoints'}"
        assert one_line(caught.value) == message
        assert caught.value.hint == "train one: charlm train"
        Run.create(None, config, corpus)  # without a checkpoint
    assert len(run_folders()) == 2


def made(name, task, order):
    """A run folder as far as finding it goes, made later than those of a lower order."""
    folder = CHECKPOINTS / name
    folder.mkdir(parents=True)
    text = task if isinstance(task, bytes) else json.dumps({"task": task}).encode()
    (folder / "run.json").write_bytes(text)
    (folder / "vocabulary.json").write_text("[]")
    save(folder)
    os.utime(folder / "run.json", (1000 + order, 1000 + order))


def test_runs_are_found_by_their_task():
    tasks = ["tag", "classify", "language-model", "tag", "classify", "tags"]
    for order, task in enumerate(tasks):
        made(f"{order}", task, order)
    assert [folder.name for folder in run_folders()] == ["5", "4", "3", "2", "1", "0"]
    assert [folder.name for folder in run_folders("tag")] == ["3", "0"]
    assert [folder.name for folder in run_folders("classify")] == ["4", "1"]
    assert [folder.name for folder in run_folders("language-model")] == ["2"]
    assert run_folders("poetry") == []
    assert newest_run("tag", "charlm tag").name == "3"
    assert newest_run().name == "2"
    (CHECKPOINTS / "3" / "checkpoint-000001" / "manifest.json").unlink()
    assert newest_run("tag", "charlm tag").name == "0"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"task": null}', b"[" * 10_000]
)
def test_what_does_not_tell_its_task_is_found_by_all(content):
    """So that it is opened, and the user is told of the damage."""
    made("whole", "tag", 0)
    made("damaged", content, 1)
    for task in (None, "tag"):
        assert [folder.name for folder in run_folders(task)] == ["damaged", "whole"]
    assert [folder.name for folder in run_folders("classify")] == ["damaged"]
    assert newest_run("tag", "charlm tag").name == "damaged"


@pytest.mark.parametrize("task", [3, ["tag"], {"tag": 1}, True, ""])
def test_what_tells_another_thing_in_place_of_a_task_is_of_none(task):
    made("strange", task, 0)
    assert run_folders("tag") == []
    assert len(run_folders()) == 1


def test_without_a_trained_run_of_a_task_its_own_command_is_named(one_line):
    made("text", "language-model", 0)
    for task, command in (("tag", "charlm tag"), ("classify", "charlm classify")):
        with pytest.raises(RunError) as caught:
            newest_run(task, command)
        assert one_line(caught.value).startswith("no trained run under ")
        assert caught.value.hint == f"train one: {command} train"


# The lock


def in_use(folder, one_line):
    with pytest.raises(RunError) as caught, locked(folder):
        raise AssertionError
    assert one_line(caught.value) == f"{folder} is in use: another process trains there"
    assert caught.value.exit_code == 1
    assert caught.value.hint


def test_another_process_is_refused_until_the_first_ends(run, corpus, one_line):
    with held(run.folder) as process:
        in_use(run.folder, one_line)
        with pytest.raises(RunError, match="is in use"), run.locked():
            raise AssertionError
        with pytest.raises(RunError, match="is in use"):
            Run.create(run.folder, run.config, corpus)
        assert Run.open(run.folder) == run  # reading is free
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0
        with run.locked():
            pass


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_the_lock_of_a_killed_process_is_free_again(run, one_line):
    with held(run.folder) as process:
        in_use(run.folder, one_line)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        assert (run.folder / LOCK).exists()
        with run.locked():
            pass


def test_a_folder_that_is_just_being_made_is_refused(tmp_path, config, corpus):
    folder = tmp_path / "new"
    folder.mkdir()
    with locked(folder), pytest.raises(RunError, match="is in use"):
        Run.create(folder, config, corpus)
    assert Run.create(folder, config, corpus).folder == folder


def test_the_lock_is_given_back_after_an_error(tmp_path, one_line):
    def fail(error):
        with locked(tmp_path):
            in_use(tmp_path, one_line)
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"what an old process left"])
def test_a_lock_file_that_nobody_holds_is_no_lock(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked(tmp_path, monkeypatch, one_line):
    def acquire(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(RunError) as caught, locked(tmp_path):
        raise AssertionError
    assert one_line(caught.value) == f"cannot lock {tmp_path}: Permission denied"


def test_what_was_left_half_written_is_gone_within_the_lock(trained):
    half = trained.folder / "checkpoint-000009"
    half.mkdir()
    (half / "last.safetensors").write_bytes(b"x")
    (trained.folder / ".summary.json.1.tmp").write_bytes(b"x")
    with trained.locked():
        assert not half.exists()
        assert not list(trained.folder.glob(".*.tmp"))
    assert Run.open(trained.folder) == trained
