"""Runs are read while another process trains in their folder."""

import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from charlm.cli import run as charlm
from charlm.runs import CHECKPOINTS, Run
from charlm.runs.checkpoint import Checkpoint, checkpoint_folders

# Saves the files of the newest checkpoint again and again, until its standard input is closed.
WRITER = """
import sys, threading, time
from pathlib import Path
from charlm.runs.checkpoint import FILES, Checkpoint, checkpoint_folders, write_checkpoint
folder = Path(sys.argv[1])
last = checkpoint_folders(folder)[0]
files = {name: (last / name).read_bytes() for name in FILES}
records = Checkpoint.open(last).records
about = {name: records[name] for name in records.keys() - files.keys()}
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set())).start()
while not ended.wait(0.002):
    last = write_checkpoint(folder, files, about, last).folder
"""


@contextmanager
def writer(folder):
    """Another process that saves every few milliseconds."""
    newest = lambda: int(checkpoint_folders(folder)[0].name.partition("-")[2])  # noqa: E731
    begun = newest()
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE)
    try:
        while newest() < begun + 3:
            assert process.poll() is None
            time.sleep(0.01)
        yield
    finally:
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.fixture
def live(trained):
    """A trained run of the name ``live``."""
    shutil.copytree(trained.folder, CHECKPOINTS / "live")
    return Run.open("live")


def test_200_reads_beside_a_training(live):
    with writer(live.folder):
        runs, read = [], set()
        while len(runs) < 200 or len(read) < 6:  # a busy machine saves seldom
            runs.append(Run.open("live", weights="best"))
            read.add(runs[-1].checkpoint.folder)
        models = [run.load_model() for run in runs]
    weights = live.read_weights("best")
    for run, model in zip(runs, models, strict=True):
        assert (run.notices, run.metrics, run.samples) == ((), live.metrics, live.samples)
        assert all(torch.equal(model.get_parameter(name), weights[name]) for name in weights)


def test_every_command_that_reads_a_run_beside_a_training(live, capsys, monkeypatch):
    commands = [
        "generate --length 2 --run live", "eval --run live", "runs list", "runs show live",
        "runs compare live live", "inspect --memory --distances 1 --run live",
    ]  # fmt: skip
    with writer(live.folder):
        for command in commands:
            for _ in range(3):
                assert charlm([*command.split(), "--json"]) == 0
                captured = capsys.readouterr()
                assert "live" in captured.out
                assert "warning" not in captured.err


def test_a_checkpoint_that_is_deleted_while_it_is_read(live, monkeypatch):
    """The newest is looked for again, each time, and damage is not taken for a deletion."""
    newest, gone = checkpoint_folders(live.folder)[0], []
    read = Checkpoint.open

    def open_too_late(folder):
        if len(gone) < 5:  # meanwhile, the training has saved
            gone.append(folder)
            folder.rename(folder.with_name(f"checkpoint-{900000 + len(gone)}"))
        return read(folder)

    monkeypatch.setattr(Checkpoint, "open", open_too_late)
    run = Run.open("live")
    assert len(gone) == 5
    assert run.checkpoint.folder.name == "checkpoint-900005"
    assert run.notices == ()
    assert not newest.exists()
