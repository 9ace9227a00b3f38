"""The command that starts several processes, and what it says when they end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from charlm import launching

SMALL = [
    *("--hidden-size", "8", "--batch-size", "4", "--seq-len", "20", "--max-chars", "3000"),
    *("--device", "cpu", "--set", "sample_length=5", "--run", "./run"),
]
TRAIN = [sys.executable, "-m", "charlm", "train", *SMALL]


def started(folder, *words):
    """A running command, and its processes by rank once they have saved a checkpoint."""
    command = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list((folder / "run").glob("checkpoint-*/manifest.json")):
        assert command.poll() is None, command.stderr.read()
        time.sleep(0.1)
    ranks = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == command.pid:
            ranks |= {int(word[5:]): int(path.name) for word in words if word[:5] == b"RANK="}
    return command, ranks


def test_an_option_for_two_launchers_is_refused(charlm, monkeypatch):
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name, value in zip(names, ("0", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    refused = charlm("train", "--processes", "2")
    assert refused.code == 2
    assert "leave out one of the two" in refused.err
    monkeypatch.setenv("RANK", "1")  # the others are silent
    refused = charlm("train", "--processes", "2")
    assert (refused.code, refused.out, refused.err) == (2, "", "")


@pytest.mark.slow
def test_the_launcher_trains_and_torchrun_resumes(tmp_path):
    words = [*TRAIN, "--epochs", "2", "--set", "schedule=constant", "--json", "--quiet"]
    done = subprocess.run([*words, "--processes", "2"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 2
    assert not done.stderr
    run = json.loads(max((tmp_path / "run").glob("*/training.json")).read_bytes())
    assert run["processes"] == 2
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
    words = ["charlm", "train", "--resume", "--epochs", "3", "--run", "./run", "--quiet", "--json"]
    done = subprocess.run([*torchrun, *words], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == 3


def test_a_second_signal_while_the_launcher_ends_the_processes(monkeypatch):
    from torch.distributed.elastic.multiprocessing import SignalException

    @contextmanager
    def logs(prefix):
        yield "logs"
        raise SignalException("", signal.SIGTERM)

    monkeypatch.setattr(launching, "TemporaryDirectory", logs)
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch", lambda *_: lambda *words: None
    )
    monkeypatch.setattr("logging.disable", lambda level: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert launching.launch(2, []) == 143


@pytest.mark.slow
def test_a_wrong_option_is_told_once(tmp_path):
    words = [*TRAIN, "--set", "batch_size=1", "--processes", "2", "--quiet"]
    words = [word for word in words if word not in ("--batch-size", "4")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: a batch of 1 row is too small for 2 processes",
        "hint: give a larger --batch-size, or fewer processes",
    ]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_signals(tmp_path, name):
    """The launcher passes a signal on, and all save; when a process is killed, all end."""
    number = getattr(signal, name)
    command, ranks = started(tmp_path, *TRAIN, "--epochs", "9999", "--processes", "2", "--quiet")
    assert [*ranks] == [0, 1] or [*ranks] == [1, 0]
    if name == "SIGKILL":
        os.kill(ranks[1], number)
    else:
        command.send_signal(number)
    out, err = command.communicate(timeout=300)
    if name == "SIGKILL":
        assert command.returncode == 1
        assert err.splitlines() == [
            "error: process 1 of 2 was ended by SIGKILL, so the others ended too",
            "hint: --resume continues the training from its last checkpoint",
        ]
    else:
        assert command.returncode == 128 + number
        assert "to resume: charlm train --resume" in out
        assert err == ""
    assert not any(os.path.exists(f"/proc/{each}") for each in ranks.values())
