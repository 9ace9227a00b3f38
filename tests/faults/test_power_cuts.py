"""A power cut between any two system calls: the old or the new checkpoint loads, complete.

A disk may lose everything that is not synced. It may lose the data of a file and keep its name, and
it may lose any change of names and keep any other. So the test follows the calls of a save. After
each call it loses the changes that are not synced yet: none, all, each alone, and all but each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.runs import Run
from charlm.runs.checkpoint import FILES, MANIFEST, Checkpoint
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.mixture import Mixture, read_mixture, write_mixture
from charlm.tasks.language_model.ngram import NGram

pytestmark = pytest.mark.skipif(os.name == "nt", reason="follows the calls that are made on POSIX")

CALLS = ("open", "write", "fsync", "close", "replace", "mkdir", "unlink", "rmdir")


class PowerCut(BaseException):
    """Raised in place of every call after the power cut."""


class Disk:
    """Follows all writes, and which of them are synced."""

    def __init__(self, cut: int) -> None:
        """``cut``: the number of the first call that fails."""
        self.cut, self.calls = cut, 0
        self.data: set[str] = set()
        """files with data that are not synced"""
        self.names: list[tuple[str, Callable[[], None]]] = []
        """changes of names that are not synced: the folder, and how to undo the change"""
        self._paths: dict[int, str] = {}
        self._real = {name: getattr(os, name) for name in CALLS}

    @contextmanager
    def followed(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._counted(name))
            yield

    def _counted(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.calls >= self.cut:
                if name == "close":  # so that this process does not leak it
                    self._real["close"](*arguments)
                raise PowerCut
            self.calls += 1
            return getattr(self, f"_{name}")(*arguments, **options)

        return call

    def _changed(self, path: str, undo: Callable[[], None]) -> None:
        self.names.append((os.path.dirname(path), undo))

    def _path(self, path: Any, dir_fd: int | None) -> str:
        return os.path.join("" if dir_fd is None else self._paths[dir_fd], os.fspath(path))

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        whole = self._path(path, dir_fd)
        new = not os.path.lexists(whole)
        number: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        self._paths[number] = whole
        if new:
            self._changed(whole, lambda: Path(whole).unlink(missing_ok=True))
        return number

    def _write(self, number: int, data: Any) -> Any:
        self.data.add(self._paths[number])
        return self._real["write"](number, data)

    def _fsync(self, number: int) -> None:
        path = self._paths[number]
        self.data.discard(path)
        self.names = [change for change in self.names if change[0] != path]

    def _close(self, number: int) -> None:
        del self._paths[number]
        self._real["close"](number)

    def _replace(self, old: Any, new: Any) -> None:
        source, target = Path(old), Path(new)
        before = target.read_bytes() if target.exists() else None
        self._real["replace"](old, new)
        if str(source) in self.data:
            self.data ^= {str(source), str(target)}

        def undo() -> None:
            with suppress(FileNotFoundError):
                target.rename(source)
            if before is not None:
                target.write_bytes(before)

        self._changed(str(target), undo)

    def _mkdir(self, path: Any, mode: int = 0o777) -> None:
        self._real["mkdir"](path, mode)
        self._changed(os.fspath(path), lambda: shutil.rmtree(path, ignore_errors=True))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        whole = Path(self._path(path, dir_fd))
        data = whole.read_bytes() if whole.exists() else b""
        self._real["unlink"](path, dir_fd=dir_fd)

        def undo() -> None:
            with suppress(FileNotFoundError):  # its folder may be deleted
                whole.write_bytes(data)

        self._changed(str(whole), undo)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        whole = self._path(path, dir_fd)
        self._real["rmdir"](path, dir_fd=dir_fd)
        self._changed(whole, lambda: Path(whole).mkdir(exist_ok=True))

    def losses(self) -> Iterator[Callable[[], None]]:
        """Functions that each put the folder into a state that it may have after the cut."""
        count = len(self.names)
        every = frozenset(range(count))
        lost = {frozenset[int](), every}
        lost |= {frozenset({number}) for number in every}
        lost |= {every - {number} for number in every}
        for numbers in sorted(lost, key=sorted):
            for data_too in (False, True) if self.data else (False,):

                def lose(numbers: Any = numbers, data_too: bool = data_too) -> None:
                    for path in self.data if data_too else ():
                        with suppress(FileNotFoundError):
                            os.truncate(path, 0)
                    for number in sorted(numbers, reverse=True):
                        self.names[number][1]()

                yield lose


def cuts(prepare: Callable[[], Path], act: Callable[[], None]) -> Iterator[bool]:
    """Put the folder of ``prepare`` into every state that a power cut may leave.

    Yields:
        Whether ``act`` was complete before the cut.
    """
    cut, done = 0, False
    while not done:
        folder = prepare()
        disk = Disk(cut)
        try:
            with disk.followed():
                act()
            done = True
        except PowerCut:
            pass
        kept = folder.with_name("kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
        for lose in disk.losses():
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
            lose()
            yield done
        cut += 1


def test_power_cut_while_saving_leaves_a_complete_checkpoint(saved, contents, record_property):
    def prepare() -> Path:
        return saved.copy().folder

    def save() -> None:
        replace(saved.run).save(**saved.states[0])

    count, folder = 0, saved.run.folder
    for count, done in enumerate(cuts(prepare, save), start=1):
        found = Run.open(folder)
        assert found.notices == (), (done, count)
        new = found.checkpoint.folder.name == "checkpoint-000003"
        assert contents(found.checkpoint.folder) == (saved.after[0] if new else saved.before)
        assert new or not done
        for manifest in folder.glob(f"checkpoint-*/{MANIFEST}"):
            checkpoint = Checkpoint.open(manifest.parent)
            for name in FILES:
                checkpoint.read(name, max_bytes=2**20)
    record_property("cuts", count)
    assert count > 100


def test_power_cut_while_creating_leaves_a_complete_run_or_none(work, saved, record_property):
    corpus = load_corpus("traveller", max_chars=4000)
    top = work / "top"
    folder = top / "new" / "run"

    def prepare() -> Path:
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
        return top

    def make() -> None:
        Run.create(folder, saved.run.config, corpus)

    count = 0
    for count, done in enumerate(cuts(prepare, make), start=1):
        there = (folder / "run.json").exists()
        assert there or not done, count
        if there:
            assert Run.open(folder).vocabulary == corpus.vocabulary, count
        elif (folder / ".lock").exists() or not folder.exists():
            make()
    record_property("cuts", count)
    assert count > 30


def test_power_cut_while_writing_a_mixture_leaves_the_old_the_new_or_none(saved, record_property):
    ngram = NGram.count(np.arange(8).repeat(4), len(saved.run.vocabulary), 2)
    old, new = (
        Mixture(ngram=ngram, weights=np.full(2, weight), learned_from=32) for weight in (0.25, 0.75)
    )

    def prepare() -> Path:
        run = saved.copy()
        write_mixture(run, old)
        return run.folder

    count = 0
    for count, done in enumerate(cuts(prepare, lambda: write_mixture(saved.run, new)), start=1):
        found, _ = read_mixture(saved.run)  # raises if it is damaged
        assert found is not None or not done
        assert found is None or found.weights[0] in ((0.75,) if done else (0.25, 0.75)), count
    record_property("cuts", count)
    assert count > 30
