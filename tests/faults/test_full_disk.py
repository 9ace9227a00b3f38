"""A full or failing disk: whichever call fails, the last complete checkpoint still loads."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import run as charlm
from charlm.errors import RunError
from charlm.runs import Run
from charlm.runs.checkpoint import FILES, MANIFEST
from charlm.tasks.language_model.corpus import load_corpus

CALLS = ("open", "write", "fsync", "close", "replace", "mkdir", "unlink", "rmdir")
EVERY = (*CALLS, "stat", "lstat", "listdir", "scandir")
ROOM = ("open", "write", "fsync", "mkdir", "replace")  # the calls that fail on a full disk
ERRORS = (errno.ENOSPC, errno.EIO)
posix = pytest.mark.skipif(os.name == "nt", reason="counts the calls that are made on POSIX")


# Failing calls


class Killed(BaseException):
    """Raised in place of every call after the process is killed."""


@dataclass(frozen=True)
class Fault:
    """What happens at one call, or from one call on."""

    at: int
    error: int = errno.EIO
    lasting: bool = False
    """whether all later calls fail, too"""
    short: bool = False
    """whether a write writes only a part; the error, if any, is that of the next call"""
    raises: type[BaseException] = OSError

    def meets(self, number: int, name: str) -> bool:
        """Whether a call fails."""
        if self.short:
            return self.error != 0 and number == self.at + 1
        if self.lasting and self.error == errno.ENOSPC and name not in ROOM:
            return False
        return number == self.at or (self.lasting and number > self.at)

    def exception(self, of: Any) -> BaseException:
        if self.raises is not OSError:
            return self.raises()
        # Errors of the system name the path if the call has one.
        path = () if isinstance(of, int) else (os.fspath(of),)
        return OSError(self.error, os.strerror(self.error), *path)


@contextmanager
def watched(fault: Fault | None = None, names: tuple[str, ...] = CALLS) -> Iterator[list[str]]:
    """List the system calls inside the block, and let one fail. Nothing is synced."""
    made: list[str] = []
    originals = {name: getattr(os, name) for name in names}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number = len(made)
            made.append(name)
            failing = fault is not None and fault.meets(number, name)
            if failing and name != "close":  # the descriptor is closed even if close fails
                raise fault.exception(arguments[0])
            if fault is not None and fault.short and number == fault.at:
                descriptor, data = arguments
                return originals["write"](descriptor, data[: len(data) // 2])
            result = None if name == "fsync" else originals[name](*arguments, **options)
            if failing:
                raise fault.exception(arguments[0])
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(os, name, wrap(name))
        yield made


def faults(calls: list[str]) -> dict[str, list[Fault]]:
    """Every fault at every call."""
    every = range(len(calls))
    by_room = [number for number in every if calls[number] in ROOM]
    writes = [number for number in every if calls[number] == "write"]
    return {
        "once": [Fault(at, error) for at in every for error in ERRORS],
        "full from there on": [Fault(at, errno.ENOSPC, lasting=True) for at in by_room],
        "broken from there on": [Fault(at, errno.EIO, lasting=True) for at in every],
        "a short write": [Fault(at, 0, short=True) for at in writes],
        "a short write, then none": [
            Fault(at, error, short=True) for at in writes for error in ERRORS
        ],
        "interrupted": [Fault(at, raises=KeyboardInterrupt) for at in every],
        "killed": [Fault(at, raises=Killed, lasting=True) for at in every],
    }


KINDS = tuple(faults([]))


# Saving, creating, cleaning up


@posix
@pytest.mark.parametrize("kind", KINDS)
def test_fault_while_saving_leaves_a_complete_checkpoint(
    saved, kind, contents, no_left_over, one_line, open_files, record_property
):
    run = saved.copy()
    with watched() as calls:
        run.save(**saved.states[0])
    # The old checkpoint is deleted last. A fault there does no harm.
    deleting = calls.index("unlink")
    assert calls[:deleting].count("replace") == len(FILES) + 1
    assert {*calls} == {*CALLS}
    todo = faults(calls)[kind]
    record_property("faults", len(todo))
    for fault in todo:
        run, files = saved.copy(), open_files()
        raised: BaseException | None = None
        try:
            with watched(fault):
                run.save(**saved.states[0])
        except (RunError, KeyboardInterrupt, Killed) as error:
            raised = error
        assert open_files() == files, fault
        harmless = kind == "a short write" or fault.at >= deleting
        if fault.raises is OSError or not harmless:
            assert (raised is None) == harmless, fault
        if fault.raises is OSError and raised is not None:
            assert os.strerror(fault.error) in one_line(raised)
            assert str(run.folder) in raised.message

        # The old or the new checkpoint opens, bit for bit and without a notice.
        opened = Run.open(run.folder)
        assert opened.notices == (), fault
        found = contents(opened.checkpoint.folder)
        new = opened.checkpoint.folder.name == "checkpoint-000003"
        assert found == (saved.after[0] if new else saved.before), fault
        if raised is None:
            assert new
        elif not fault.lasting:
            assert new == (fault.at >= deleting), fault

        # The same process or a later one continues.
        if fault.lasting or raised is None:
            run = opened
        with run.locked():
            no_left_over(run.folder)
            run.save(**saved.states[1])
            no_left_over(run.folder)
        again = Run.open(run.folder)
        assert again.notices == ()
        assert contents(again.checkpoint.folder) == saved.after[1], fault
        assert len([*run.folder.glob("checkpoint-*")]) == 2, fault


@posix
@pytest.mark.parametrize("kind", KINDS)
def test_fault_while_creating_a_run_leaves_its_folder_usable(
    work, saved, kind, monkeypatch, one_line, open_files, record_property
):
    monkeypatch.setattr("charlm.runs.run.version", str)  # the real one opens files
    text = work / "text.txt"
    text.write_text("for so it will be convenient to speak of him\n" * 50)
    config = replace(saved.run.config, corpus=replace(saved.run.config.corpus, source="-"))
    corpus = replace(load_corpus(str(text)), raw=text.read_bytes())
    folder = work / "new" / "run"

    make = partial(Run.create, folder, config, corpus)
    shutil.rmtree(folder.parent, ignore_errors=True)
    with watched(names=EVERY) as calls:
        make()
    todo = faults(calls)[kind]
    record_property("faults", len(todo))
    for fault in todo:
        shutil.rmtree(folder.parent, ignore_errors=True)
        files, raised = open_files(), None
        try:
            with watched(fault, EVERY):
                make()
        except (RunError, KeyboardInterrupt, Killed) as error:
            raised = error
        assert open_files() == files, fault
        if kind == "a short write":
            assert raised is None, fault
        if isinstance(raised, RunError):
            assert os.strerror(fault.error) in one_line(raised)
            assert str(work) in raised.message
            # If later calls fail too, run.json may be left. Then the run is complete.
            assert fault.lasting or not (folder / "run.json").exists(), fault
            left = [path.name for path in folder.glob("*")]
            assert fault.lasting or left in ([], [".lock"]), fault
        run = Run.open(folder) if (folder / "run.json").exists() else make()
        assert run.load_corpus().characters == corpus.characters
        assert Run.open(folder) == run, fault
        with run.locked():
            names = {path.name for path in folder.iterdir()}
            assert names == {".lock", "corpus.txt", "vocabulary.json", "run.json"}, fault


@posix
def test_fault_while_cleaning_up_deletes_no_complete_checkpoint(
    saved, contents, no_left_over, one_line, record_property
):
    def with_incomplete_checkpoint() -> Run:
        run = saved.copy()
        with suppress(Killed), watched(Fault(22, raises=Killed, lasting=True)):
            run.save(**saved.states[0])
        assert [path.name for path in run.folder.glob("*/.*.tmp")] != []
        (run.folder / ".summary.json.1.tmp").write_bytes(b"{")
        return run

    run = with_incomplete_checkpoint()
    with watched(names=EVERY) as calls, run.locked():
        pass
    todo = [Fault(at, error) for at in range(len(calls)) for error in ERRORS]
    record_property("faults", len(todo))
    for fault in todo:
        run = with_incomplete_checkpoint()
        try:
            with watched(fault, EVERY), run.locked():
                pass
        except RunError as error:
            one_line(error)
        checkpoints = [path.name for path in run.folder.glob(f"checkpoint-*/{MANIFEST}")]
        assert len(checkpoints) == 2, (fault, calls[fault.at])
        with run.locked():
            no_left_over(run.folder)
        opened = Run.open(run.folder)
        assert opened.notices == ()
        assert contents(opened.checkpoint.folder) == saved.before


# Real limits

ROOT = Path(__file__).parents[2]
TRAINING = ["--quiet", "--hidden-size", "52", "--epochs", "1", "--batch-size", "8"]
TRAINING += ["--seq-len", "30", "--max-chars", "4000", "--device", "cpu"]
TRAINING += ["--set", "ngram_order=1"]  # small checkpoints

RESUME = ["train", "--quiet", "--resume"]

# Prints a line of JSON for each command: exit code, stdout, stderr.
SCRIPT = """
import contextlib, io, json, os, shutil, subprocess, sys, torch
from charlm.cli import run
torch.set_num_threads(1)

def charlm(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


def outcomes(
    script: str, *arguments: str, cwd: Path, within: tuple[str, ...] = ()
) -> list[tuple[int, str, list[str]]]:
    """Run a script in a new process: exit code, stdout and lines of stderr of each command."""
    process = subprocess.run(
        [*within, sys.executable, "-c", SCRIPT + script, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 0, process.stderr
    rows = map(json.loads, process.stdout.splitlines())
    return [(code, out, err.splitlines()) for code, out, err in rows]


def uninterrupted(folder: Path) -> dict[str, bytes]:
    assert charlm(["train", *TRAINING, "--run", str(folder)]) == 0
    return tensors_of(Run.open(folder))


def tensors_of(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.checkpoint.folder.glob("*.safetensors")}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, of Linux")
def test_file_system_that_fills_up(tmp_path, no_left_over):
    """A file system of a megabyte has room for two checkpoints but not for a third."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    for user in (("--map-root-user",), ()):
        within = ("unshare", *user, "--mount", "sh", "-c", mount, str(mounted))
        if not subprocess.run([*within, "true"], capture_output=True).returncode:
            break
    else:
        pytest.skip("users cannot mount a file system here")
    script = """
folder, copy, *training = sys.argv[1:]
charlm("train", *training, "--set", "save_steps=1", "--run", folder)
shutil.copytree(folder, copy + "-full")
charlm("generate", "-q", "--run", folder, *"--prefix The --length 20 --exact-length".split())
charlm("train", "--quiet", "--resume", "--run", folder)
subprocess.run(["mount", "-o", "remount,size=4m", os.path.dirname(folder)], check=True)
charlm("train", "--quiet", "--resume", "--run", folder)
shutil.copytree(folder, copy)
"""
    folder, copy = mounted / "run", tmp_path / "copy"
    full, generated, still_full, resumed = outcomes(
        script, str(folder), str(copy), *TRAINING, cwd=tmp_path, within=within
    )
    for code, out, err in (full, still_full):
        assert (code, out) == (1, "")
        error, hint = err
        assert re.fullmatch(
            rf"error: cannot write {folder}/checkpoint-000003/[\w.]+: No space left on device",
            error,
        )
        assert hint.startswith("hint: ")
    found = Run.open(tmp_path / "copy-full")
    assert found.notices == ()
    assert found.checkpoint.folder.name == "checkpoint-000002"
    assert found.training["progress"]["step"] == 2
    drawn = [path.name for path in found.folder.glob("report.html")]  # by a slow training
    no_left_over(found.folder, "metrics.jsonl", *drawn)

    code, text, err = generated
    assert (code, err) == (0, [])
    assert len(text.rstrip("\n")) == len("The") + 20
    assert (resumed[0], resumed[2]) == (0, [])
    assert tensors_of(Run.open(copy)) == uninterrupted(tmp_path / "uninterrupted")


@posix
def test_limit_on_the_size_of_files(work):
    """The limit, as set by ``ulimit -f``, is smaller than the weights."""
    folder = work / "limited"
    before = uninterrupted(folder)
    script = """
import resource
folder, *resume = sys.argv[1:]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
charlm(*resume, "--epochs", "2", "--run", folder)
shutil.copytree(folder, folder + "-copy", copy_function=os.link)  # needs no room
charlm("generate", "-q", "--run", folder, *"--prefix The --length 20 --exact-length".split())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
charlm(*resume, "--epochs", "2", "--run", folder)
"""
    limited, generated, resumed = outcomes(script, str(folder), *RESUME, cwd=work)
    code, out, (error, hint) = limited
    assert (code, out) == (1, "")
    assert re.fullmatch(
        rf"error: cannot write {folder}/checkpoint-\d+/last\.safetensors: File too large", error
    )
    assert hint.startswith("hint: ")
    found = Run.open(folder.with_name("limited-copy"))
    assert found.notices == ()
    assert tensors_of(found) == before
    assert generated[0] == 0
    assert (resumed[0], resumed[2]) == (0, [])
    assert Run.open(folder).training["progress"]["whole_epochs"] == 1
    assert tensors_of(Run.open(folder)) != before
