"""A disk that is full, or fails: what was saved before loads, whichever call it is that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.cli import run as charlm
from charlm.config import LanguageModelConfig
from charlm.corpus import load_corpus
from charlm.errors import CharlmError, RunError
from charlm.runs import Run
from charlm.runs.checkpoint import FILES, MANIFEST, Checkpoint
from charlm.training import keeping
from charlm.training.language import LanguageModelling
from charlm.training.optimisation import snapshot
from charlm.training.trainer import Trainer

CALLS = ("open", "write", "fsync", "close", "replace", "mkdir", "unlink", "rmdir")
EVERY = (*CALLS, "stat", "lstat", "listdir", "scandir")
ROOM = ("open", "write", "fsync", "mkdir", "replace")  # what a full disk refuses
ERRORS = (errno.ENOSPC, errno.EIO)
SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 4, "embedding_size": 4},
    "training": {"epochs": 2, "batch_size": 8, "seq_len": 20, "prefixes": ["the "],
                 "sample_every": 1, "sample_length": 5},
}  # fmt: skip
posix = pytest.mark.skipif(os.name == "nt", reason="counts the calls that are made on POSIX")


# Calls that fail


class Killed(BaseException):
    """In place of what a killed process would do next."""


@dataclass(frozen=True)
class Fault:
    """What happens at a call, and at those after it."""

    at: int
    error: int = errno.EIO
    lasting: bool = False
    """not only this call: all that come after it too"""
    short: bool = False
    """a write that writes a part; the error, if any, is the next one's"""
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
        # The system's own errors name the path, where there was one.
        path = () if isinstance(of, int) else (os.fspath(of),)
        return OSError(self.error, os.strerror(self.error), *path)


@contextmanager
def watched(fault: Fault | None = None, names: tuple[str, ...] = CALLS) -> Iterator[list[str]]:
    """Within, calls of the system are listed, and fail as told. Nothing is really synced."""
    made: list[str] = []
    originals = {name: getattr(os, name) for name in names}

    def wrap(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number = len(made)
            made.append(name)
            failing = fault is not None and fault.meets(number, name)
            if failing and name != "close":  # a descriptor is gone even so
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
    """One call after the other, and each in every way."""
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


# What a run holds


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def one_line(error: CharlmError) -> str:
    lines = (error.message, error.hint or "-")
    assert all(line and line.isprintable() for line in lines), lines
    return error.message


def no_left_over(folder: Path) -> None:
    checkpoints = sorted(path for path in folder.iterdir() if path.is_dir())
    assert all(re.fullmatch(r"checkpoint-\d{6}", path.name) for path in checkpoints)
    assert {path.name for path in folder.iterdir() if path not in checkpoints} == {
        ".lock", "run.json", "vocabulary.json",
    }  # fmt: skip
    for path in checkpoints:
        assert {file.name for file in path.iterdir()} == {*FILES, MANIFEST}
        checkpoint = Checkpoint.open(path)
        for name in FILES:
            checkpoint.read(name, most=2**20)  # each of them is whole


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """A folder in memory, where there is such a thing."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=root, prefix="charlm-full-disk-"))
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Saved:
    """A run with two checkpoints, and what is still to be saved."""

    original: Path
    run: Run
    """opened in a copy of that folder"""
    before: dict[str, bytes]
    states: tuple[dict[str, Any], ...]
    """arguments of `Run.save`, one after the other"""
    after: tuple[dict[str, bytes], ...] = ()
    """the files of a checkpoint for each of them"""

    def copy(self) -> Run:
        """The run with its two checkpoints, as a process finds it that goes on."""
        shutil.rmtree(self.run.folder)
        shutil.copytree(self.original, self.run.folder)
        return replace(self.run)


@pytest.fixture(scope="module")
def saved(work: Path) -> Saved:
    """Really trained, a step for each checkpoint; the third save deletes the first."""
    corpus = load_corpus("traveller", max_chars=4000)
    run = Run.create(work / "run", LanguageModelConfig.from_settings([SETTINGS]), corpus)
    trainer = Trainer(run, LanguageModelling(run, corpus, torch.device("cpu")), torch.device("cpu"))
    states = []
    best = snapshot(trainer.model)
    for _ in range(4):
        trainer.update()
        assert list(trainer.report(lambda: False))  # so that there are metrics and samples
        tensors, training = keeping.keep(trainer)
        last = snapshot(trainer.model)
        states.append({"best": best, "last": last, "tensors": tensors, "training": training})
        best = last
    for state in states[:2]:
        with run.locked():
            run.save(**state)
    before = contents(run.checkpoint.folder)
    shutil.copytree(run.folder, work / "copy")
    saved = Saved(run.folder, Run.open(work / "copy"), before, tuple(states[2:]))
    run = saved.copy()
    after = []
    for state in saved.states:
        run.save(**state)
        after.append(contents(run.checkpoint.folder))
    assert before != after[0] != after[1]
    assert {path.name[-1] for path in run.folder.glob("checkpoint-*")} == {"3", "4"}
    return replace(saved, after=tuple(after))


@posix
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_in_saving_a_whole_checkpoint_loads(saved, kind, record_property):
    run = saved.copy()
    with watched() as calls:
        run.save(**saved.states[0])
    # Deleting what is not needed any more comes last, and does not matter.
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

        # One of the two, bit for bit, and without a warning.
        opened = Run.open(run.folder)
        assert opened.notices == (), fault
        found = contents(opened.checkpoint.folder)
        new = opened.checkpoint.folder.name == "checkpoint-000003"
        assert found == (saved.after[0] if new else saved.before), fault
        if raised is None:
            assert new
        elif not fault.lasting:
            assert new == (fault.at >= deleting), fault

        # It goes on: the same process, or a later one.
        if fault.lasting or raised is None:
            run = opened
        with run.locked():
            no_left_over(run.folder)
            run.save(**saved.states[1])
            no_left_over(run.folder)
        again = Run.open(run.folder)
        assert again.notices == ()
        expected = saved.after[1]
        found = contents(again.checkpoint.folder)
        assert found == expected, fault
        assert len([*run.folder.glob("checkpoint-*")]) == 2, fault


@posix
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_fails_in_making_a_run_its_folder_can_be_used(
    work, kind, monkeypatch, record_property
):
    monkeypatch.setattr("charlm.runs.run.version", str)  # reads files too, which are not the run's
    text = work / "text.txt"
    text.write_text("for so it will be convenient to speak of him\n" * 50)
    config = LanguageModelConfig.from_settings([{"corpus": {"source": "-"}}, SETTINGS])
    corpus = load_corpus(str(text))
    folder = work / "new" / "run"

    def make() -> Run:
        return Run.create(folder, config, corpus, text)

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
            # Where nothing can be done any more it may be a run already, and then a whole one.
            assert fault.lasting or not (folder / "run.json").exists(), fault
        run = Run.open(folder) if (folder / "run.json").exists() else make()
        assert run.load_corpus().characters == corpus.characters
        assert Run.open(folder) == run, fault
        with run.locked():
            names = {path.name for path in folder.iterdir()}
            assert names == {".lock", "corpus.txt", "vocabulary.json", "run.json"}, fault


@posix
def test_whatever_fails_in_cleaning_up_no_whole_checkpoint_is_deleted(saved, record_property):
    """Where it cannot be told whether a checkpoint is whole, too."""

    def half_written() -> Run:
        run = saved.copy()
        with suppress(Killed), watched(Fault(22, raises=Killed, lasting=True)):
            run.save(**saved.states[0])
        assert [path.name for path in run.folder.glob("*/.*.tmp")] != []
        (run.folder / ".summary.json.1.tmp").write_bytes(b"{")
        return run

    run = half_written()
    with watched(names=EVERY) as calls, run.locked():
        pass
    todo = [Fault(at, error) for at in range(len(calls)) for error in ERRORS]
    record_property("faults", len(todo))
    for fault in todo:
        run = half_written()
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


# Disks that are really full

ROOT = Path(__file__).parents[2]
TRAINING = [
    "--quiet", "--hidden-size", "52", "--epochs", "1", "--batch-size", "8", "--seq-len", "30",
    "--max-chars", "4000", "--device", "cpu",
]  # fmt: skip

GOING_ON = ["train", "--quiet", "--resume"]

# Each command's exit code and what it wrote, as a line of JSON.
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
    """Run it in a process of its own: exit code, stdout and the lines of stderr of each command."""
    process = subprocess.run(
        [*within, sys.executable, "-c", SCRIPT + script, *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    rows = map(json.loads, process.stdout.splitlines())
    return [(code, out, err.splitlines()) for code, out, err in rows]


def undisturbed(folder: Path) -> dict[str, bytes]:
    assert charlm(["train", *TRAINING, "--run", str(folder)]) == 0
    return tensors_of(Run.open(folder))


def tensors_of(run: Run) -> dict[str, bytes]:
    files = contents(run.checkpoint.folder)
    return {name: data for name, data in files.items() if name.endswith(".safetensors")}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, of Linux")
def test_a_file_system_that_fills_up(tmp_path):
    """One of a megabyte, in which two checkpoints have room and a third has not."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    for user in (("--map-root-user",), ()):
        within = ("unshare", *user, "--mount", "sh", "-c", mount, str(mounted))
        if not subprocess.run([*within, "true"], capture_output=True).returncode:
            break
    else:
        pytest.skip("this system lets no user mount a file system")
    script = """
folder, copy, *training = sys.argv[1:]
charlm("train", *training, "--set", "save_steps=1", "--run", folder)
shutil.copytree(folder, copy + "-full")
charlm("generate", "--run", folder, "--prefix", "the ", "--length", "20")
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
    assert found.training["position"]["step"] == 2
    no_left_over(found.folder)

    code, text, err = generated
    assert (code, err) == (0, [])
    assert len(text.rstrip("\n")) == len("the ") + 20
    assert (resumed[0], resumed[2]) == (0, [])
    assert tensors_of(Run.open(copy)) == undisturbed(tmp_path / "undisturbed")


@posix
def test_a_limit_on_the_size_of_files(work):
    """As of `ulimit -f`: the weights take more."""
    folder = work / "limited"
    before = undisturbed(folder)
    script = """
import resource
folder, *going_on = sys.argv[1:]
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
charlm(*going_on, "--epochs", "2", "--run", folder)
shutil.copytree(folder, folder + "-copy", copy_function=os.link)  # it takes no writing
charlm("generate", "--run", folder, "--prefix", "the ", "--length", "20")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
charlm(*going_on, "--epochs", "2", "--run", folder)
"""
    limited, generated, resumed = outcomes(script, str(folder), *GOING_ON, cwd=work)
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
    assert Run.open(folder).training["position"]["whole_epochs"] == 1
    assert tensors_of(Run.open(folder)) != before
