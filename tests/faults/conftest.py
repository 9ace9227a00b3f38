"""What the tests of faults share: a folder in memory, and a run with two checkpoints."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.runs import Run
from charlm.runs.checkpoint import FILES, MANIFEST, Checkpoint
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.decoding import Decoding, generate
from charlm.training.loop import open_trainer
from charlm.training.training_state import to_files

SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 4, "embedding_size": 4},
    "training": {
        "epochs": 2,
        "batch_size": 8,
        "seq_len": 20,
        "prefixes": ["the "],
        "sample_every": 1,
        "sample_length": 5,
    },
}


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """A folder in memory if the system has one: thousands of cases write many files."""
    memory = Path("/dev/shm")
    root = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=root, prefix="charlm-faults-"))
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Saved:
    """A run with two checkpoints, and the states of two more."""

    original: Path
    run: Run
    """opened in a copy of ``original``"""
    before: dict[str, bytes]
    """the files of the newest checkpoint"""
    states: tuple[dict[str, Any], ...]
    """the arguments of `Run.save` for each"""
    after: tuple[dict[str, bytes], ...] = ()
    """the files of the checkpoint for each"""

    def copy(self) -> Run:
        """The run with its two checkpoints, restored."""
        shutil.rmtree(self.run.folder)
        shutil.copytree(self.original, self.run.folder)
        return replace(self.run)


@pytest.fixture(scope="module")
def saved(work: Path, contents: Callable[[Path], dict[str, bytes]]) -> Saved:
    """Each checkpoint is one training step after the previous one."""
    corpus = load_corpus("traveller", max_chars=4000)
    run = Run.create(work / "run", LanguageModelConfig.from_settings([SETTINGS]), corpus)
    trainer = open_trainer(run, corpus, torch.device("cpu"))[0]
    states = []
    best = trainer.state_dict()["weights"]
    for _ in range(4):
        trainer.update()
        assert list(trainer.reports.make(lambda: False))  # adds metrics and samples
        states.append({**to_files(trainer.state_dict()), "best": best})
        best = states[-1]["last"]
    for state in states[:2]:
        with run.locked():
            run.save(**state)
    before = contents(run.checkpoint.folder)
    shutil.copytree(run.folder, work / "copy")
    saved = Saved(run.folder, Run.open(work / "copy"), before, tuple(states[2:]))
    run, after = saved.copy(), []
    for state in saved.states:
        run.save(**state)
        after.append(contents(run.checkpoint.folder))
    assert before != after[0] != after[1]
    assert before.keys() == after[0].keys() == {*FILES, MANIFEST}
    assert {path.name[-1] for path in run.folder.glob("checkpoint-*")} == {"3", "4"}
    return replace(saved, after=tuple(after))


@pytest.fixture(scope="session")
def no_left_over() -> Callable[..., None]:
    """Checks that a run folder has the files of a run, complete checkpoints, and ``more``."""

    def check(folder: Path, *more: str) -> None:
        checkpoints = [path for path in folder.iterdir() if path.is_dir()]
        others = {path.name for path in folder.iterdir() if path not in checkpoints}
        assert others == {".lock", "run.json", "vocabulary.json", *more}
        for path in checkpoints:
            assert re.fullmatch(r"checkpoint-\d{6}", path.name)
            assert {file.name for file in path.iterdir()} == {*FILES, MANIFEST}
            checkpoint = Checkpoint.open(path)
            for name in FILES:
                checkpoint.read(name, max_bytes=2**24)  # raises if the file is damaged

    return check


# The child writes to a log file, not to the terminal of the tests.
SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(out, 1), os.dup2(out, 2)
from charlm.cli import run
sys.exit(run(arguments))
"""


class Trainings:
    """Small trainings, each in a process of its own that a test may kill."""

    common = (
        "--quiet --epochs 3 --batch-size 8 --seq-len 30 --max-chars 4000 --device cpu "
        "--prefix The --set sample_length=30"
    )
    _kinds = (
        "--cell lstm --hidden-size 48 --num-layers 2 --set save_steps=1",
        "--cell gru --hidden-size 48 --sampling random --set save_steps=2",
        "--cell rnn --backend scratch --hidden-size 32 --set optimiser=sgd --set lr=0.5 "
        "--set save_steps=7",
        "--cell lstm --hidden-size 128 --set embedding=tied --set optimiser=adam "
        "--set save_steps=1 --set weight_dropout=0.5",
    )

    def __init__(self) -> None:
        """Prepare a server that forks processes in which torch is already imported."""
        self._server = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(["torch", "charlm.cli", "charlm.training"])

    def options(self, number: int) -> list[str]:
        """The options of one of the kinds."""
        return self._kinds[number % len(self._kinds)].split()

    def start(self, folder: Path, *options: str, log: Path | None = None) -> Any:
        """The process of a training; it writes to ``log``, or beside the run folder."""
        arguments = ["train", *self.common.split(), *options, "--run", str(folder)]
        about = {"log": str(log or f"{folder}.log"), "arguments": arguments}
        process = self._server.Process(target=exec, args=(SCRIPT, about))
        process.start()
        return process

    def finish(self, folder: Path, *options: str, log: Path | None = None) -> None:
        """Train to the end."""
        process = self.start(folder, *options, log=log)
        process.join(600)
        assert process.exitcode == 0, (log or Path(f"{folder}.log")).read_text()

    def outcome(self, folder: Path) -> dict[str, bytes | list[int]]:
        """What must not depend on kills: all tensors, and a text that the model writes."""
        run = Run.open(folder)
        assert run.notices == ()
        paths = run.checkpoint.folder.glob("*.safetensors")
        files = {path.name: path.read_bytes() for path in paths}
        assert len(files) == 3
        model = run.load_model("last")
        drawn = generate(model, [1, 2], length=1000, decoding=Decoding(temperature=1.0), seed=1)
        return {**files, "characters": [int(token) for token in drawn]}


@pytest.fixture(scope="session")
def trainings() -> Trainings:
    """Small trainings to be killed."""
    return Trainings()
