"""Power cuts on real file systems: what was not synced is lost, and the training resumes.

A training runs on a file system of its own, which is cut off at a random moment: nothing more
reaches the disk, and the changes that are only in memory are lost. Mounted again, it has what a
computer would find after a power cut. ``test_power_cuts.py`` makes such states by simulation, and
so also the states that are possible, but that these file systems do not reach.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Protocol

import pytest

from charlm.errors import RunError
from charlm.runs import Run
from charlm.runs.checkpoint import MANIFEST, complete_checkpoints
from charlm.tasks.language_model.mixture import read_mixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("syncing"),
    pytest.mark.skipif(sys.platform != "linux", reason="file systems of Linux"),
]

SAVES_CUT = 50

LAZYFS = os.environ.get("CHARLM_LAZYFS") or shutil.which("lazyfs")
LAZYFS_SETTINGS = """
[faults]
fifo_path = "{folder}/fifo"
[cache]
apply_eviction = false
[cache.simple]
custom_size = "0.05gb"
blocks_per_page = 1
[filesystem]
log_all_operations = false
logfile = ""
"""


def run(*words: str | Path) -> None:
    """Run a command; CalledProcessError if it fails."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class Disk(Protocol):
    """A file system of its own at ``folder``."""

    folder: Path

    def cut(self) -> None:
        """Lose all that is not on the disk; all calls fail from now on."""

    def mount(self) -> None:
        """Mount it, at first or after a cut."""

    def unmount(self) -> None:
        """Unmount it, whether it was cut or not."""


class Kernel:
    """A file system of the kernel in a file. It is cut as the kernel's own tests do it.

    The command "shut down without writing the log" stops all writing at once.
    """

    SHUT_DOWN, WITHOUT_LOG = 0x8004587D, 2  # XFS_IOC_GOINGDOWN, which ext4 has, too
    # Nothing is written because time has passed or a file was closed.
    OPTIONS: ClassVar = {"ext4": "loop,commit=3600,noauto_da_alloc", "xfs": "loop"}

    def __init__(self, kind: str, work: Path) -> None:
        self.folder, self._image, self._kind = work / "disk", work / "image", kind
        self.folder.mkdir()
        with self._image.open("wb") as file:
            file.truncate(300 * 2**20)  # the least that XFS takes; most of it is a hole
        run(f"mkfs.{kind}", "-q", self._image)

    def mount(self) -> None:
        options = self.OPTIONS[self._kind]
        run("mount", "-t", self._kind, "-o", options, self._image, self.folder)

    def unmount(self) -> None:
        run("umount", self.folder)

    def cut(self) -> None:
        import fcntl

        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, self.SHUT_DOWN, ctypes.c_uint32(self.WITHOUT_LOG))
        finally:
            os.close(descriptor)


class LazyFS:
    """LazyFS, which keeps all data in its memory until they are synced. A cut kills it."""

    def __init__(self, work: Path) -> None:
        self.folder, self._root = work / "disk", work / "root"
        (work / "lazyfs.toml").write_text(LAZYFS_SETTINGS.format(folder=work))
        self.folder.mkdir()
        self._root.mkdir()

    def mount(self) -> None:
        module = ["-o", "modules=subdir", "-o", f"subdir={self._root}", "-f"]
        self._process = subprocess.Popen(
            [LAZYFS, self.folder, "--config-path", "lazyfs.toml", *module],
            cwd=self._root.parent,  # it takes no path with "-o", such as pytest's
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self.folder.is_mount():
            assert self._process.poll() is None, "LazyFS has ended"
            time.sleep(0.01)

    def unmount(self) -> None:
        self.cut()
        run("umount", "-l", self.folder)

    def cut(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(params=["ext4", "xfs", "lazyfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    kind = request.param
    if os.geteuid():
        pytest.skip("only root mounts file systems")
    if kind == "lazyfs" and LAZYFS is None:
        pytest.skip("needs LazyFS: a program lazyfs on the PATH or in $CHARLM_LAZYFS")
    if kind != "lazyfs" and shutil.which(f"mkfs.{kind}") is None:
        pytest.skip(f"needs mkfs.{kind}")
    try:
        disk = LazyFS(tmp_path) if kind == "lazyfs" else Kernel(kind, tmp_path)
        disk.mount()
    except subprocess.CalledProcessError as error:  # in a container, say
        pytest.skip(f"cannot make a file system: {error}")
    yield disk
    disk.unmount()


@pytest.mark.parametrize("number", range(4))
def test_training_resumes_after_a_power_cut(disk, trainings, tmp_path, no_left_over, number):
    draw = random.Random(number)
    files = ["metrics.jsonl", "summary.json", "report.html"]
    options, mixture = trainings.options(number), ["mixture.safetensors", "mixture.json"]
    if number % 2 == 0:  # it takes as long as the training
        options, files = [*options, "--mix-ngram"], [*mixture, *files]
    trainings.finish(disk.folder / "uninterrupted", *options, log=tmp_path / "log")
    expected = ended(trainings, disk.folder / "uninterrupted")
    last = number_of(Run.open(disk.folder / "uninterrupted"))
    found = Counter()
    for attempt, mark in enumerate(["run.json", *["checkpoint"] * 3, files[0], "summary.json"]):
        folder = disk.folder / f"run{attempt}"
        log = tmp_path / f"log{attempt}"
        if mark == "checkpoint":
            mark = f"checkpoint-{draw.randint(1, last):06}"
        elif mark == "metrics.jsonl":
            mark = f"checkpoint-{last:06}/manifest.json"
        process = trainings.start(folder, *options, log=log)
        while process.is_alive() and not (folder / mark).exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        disk.cut()
        process.join(600)
        assert process.exitcode in (0, 1), log.read_text()
        check(log, errors=process.exitcode)
        disk.unmount()
        disk.mount()
        resume = (folder / "run.json").exists()
        if not resume:
            found["no run"] += 1
            process = trainings.start(folder, "--resume", log=log.with_suffix(".none"))
            process.join(600)
            assert process.exitcode == 1
            check(log.with_suffix(".none"), errors=1)
        elif not complete_checkpoints(folder):
            found["no checkpoint"] += 1
        else:
            opened = Run.open(folder)
            found["the summary" if opened.summary() else "a checkpoint"] += 1
            assert opened.notices == ()
            read_mixture(opened)  # raises if it is damaged
        log = log.with_suffix(".resumed")
        trainings.finish(folder, *options, *(["--resume"] if resume else []), log=log)
        check(log, errors=0)
        assert ended(trainings, folder) == expected, mark
        no_left_over(folder, *files)
    print(", ".join(f"{count} left {what}" for what, count in found.items()))


def test_what_was_saved_is_there_after_a_power_cut(disk, saved, contents):
    """The newest checkpoint is the last one whose saving ended before the cut, or a newer one."""
    draw = random.Random(0)
    folder = disk.folder / "run"
    shutil.copytree(saved.original, folder)
    sync_all(folder)
    known = [saved.before, *saved.after]
    during = 0
    for _ in range(SAVES_CUT):
        numbers: list[int] = []
        run = Run.open(folder, weights=True)

        def save(run: Run = run, numbers: list[int] = numbers) -> None:
            with suppress(RunError):
                for state in itertools.cycle(saved.states):
                    run.save(**state)
                    numbers.append(number_of(run))

        before = number_of(run)
        thread = threading.Thread(target=save)
        thread.start()
        time.sleep(draw.uniform(0, 0.1))
        disk.cut()
        thread.join()
        disk.unmount()
        disk.mount()
        during += any(not (path / MANIFEST).exists() for path in folder.glob("checkpoint-*"))
        opened = Run.open(folder, weights=True)
        assert opened.notices == ()
        assert number_of(opened) >= max([before, *numbers])
        assert contents(opened.checkpoint.folder) in known
    print(f"{SAVES_CUT} cuts, {during} left a part of a checkpoint")


def number_of(run: Run) -> int:
    return int(run.checkpoint.folder.name.partition("-")[2])


def sync_all(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def check(log: Path, errors: int) -> None:
    """Check that a training said nothing unexpected: no traceback, no damage, one error at most."""
    text = log.read_text()
    assert sum(line.startswith("error: ") for line in text.splitlines()) == errors, text
    assert "Traceback" not in text
    assert "damaged" not in text


def ended(trainings, folder: Path) -> dict[str, object]:
    """All that a training leaves, except what depends on the time that it took."""
    json.loads((folder / "summary.json").read_text())
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    return {
        **trainings.outcome(folder),
        **{path.name: path.read_bytes() for path in folder.glob("mixture.*")},
        "steps": [json.loads(line)["step"] for line in lines],
    }
