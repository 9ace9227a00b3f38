"""Trainings are killed at random moments and resumed, and end as an uninterrupted training ends."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.runs import Run
from charlm.runs.checkpoint import MANIFEST
from charlm.tasks.language_model.decoding import Decoding, generate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them"),
]

KILLS_OF_A_TEST = 10
WHILE_WRITING = 3  # of those, at least
TEST_NUMBERS = range(20)

COMMON = (
    "--quiet --epochs 3 --batch-size 8 --seq-len 30 --max-chars 4000 --device cpu --prefix The "
    "--set sample_length=30"
)
TRAININGS = [
    "--cell lstm --hidden-size 48 --num-layers 2 --set save_steps=1",
    "--cell gru --hidden-size 48 --sampling random --set save_steps=2",
    "--cell rnn --backend scratch --hidden-size 32 --set optimiser=sgd --set lr=0.5 "
    "--set save_steps=7",
    "--cell lstm --hidden-size 128 --set embedding=tied --set optimiser=adam --set save_steps=1 "
    "--set weight_dropout=0.5",
]

# The child writes to a log file, not to the terminal of the tests.
SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(out, 1), os.dup2(out, 2)
from charlm.cli import run
sys.exit(run(arguments))
"""


@pytest.fixture(scope="module")
def server():
    """A server that forks processes in which torch is already imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "charlm.cli", "charlm.training"])
    return context


def start(server, folder: Path, *options: str):
    arguments = ["train", *COMMON.split(), *options, "--run", str(folder)]
    process = server.Process(
        target=exec, args=(SCRIPT, {"log": f"{folder}.log", "arguments": arguments})
    )
    process.start()
    return process


def finish(server, folder: Path, *options: str) -> None:
    process = start(server, folder, *options)
    process.join(600)
    assert process.exitcode == 0, Path(f"{folder}.log").read_text()


def outcome(folder: Path) -> dict[str, bytes | list[int]]:
    """What must not depend on kills: all tensors, and a text that the model writes."""
    run = Run.open(folder)
    assert run.notices == ()
    files = {path.name: path.read_bytes() for path in run.checkpoint.folder.glob("*.safetensors")}
    assert len(files) == 3
    model = run.load_model("last")
    drawn = generate(model, [1, 2], length=1000, decoding=Decoding(temperature=1.0), seed=1)
    return {**files, "characters": [int(token) for token in drawn]}


def is_incomplete(folder: Path) -> bool:
    checkpoints = list(folder.glob("checkpoint-*"))
    incomplete = any(not (path / MANIFEST).exists() for path in checkpoints)
    return incomplete or any(folder.glob("**/.*.tmp"))


@pytest.mark.parametrize("number", TEST_NUMBERS)
def test_killed_training_resumes_bit_for_bit(server, tmp_path, no_left_over, number):
    draw = random.Random(number)
    options = TRAININGS[number % len(TRAININGS)].split()
    begun = time.monotonic()
    finish(server, tmp_path / "uninterrupted", *options)
    seconds = time.monotonic() - begun
    expected = outcome(tmp_path / "uninterrupted")
    kills = while_writing = 0
    for attempt in itertools.count():
        assert attempt < 10 * KILLS_OF_A_TEST, "too few kills hit a training or a save"
        # Some kills are aimed: they wait until the process writes a checkpoint.
        aimed = while_writing < WHILE_WRITING
        folder = tmp_path / f"run{attempt}"
        process = start(server, folder, *options)
        time.sleep(draw.uniform(0, seconds))
        while aimed and process.is_alive() and not is_incomplete(folder):
            pass
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            continue  # it had ended before
        kills += 1
        while_writing += is_incomplete(folder)
        resume = ["--resume"] if (folder / "run.json").exists() else []
        finish(server, folder, *options, *resume)
        assert outcome(folder) == expected, f"kill {kills}"
        no_left_over(folder, "metrics.jsonl", "summary.json", "report.html")
        assert len(list(folder.glob("checkpoint-*"))) <= 2
        if kills >= KILLS_OF_A_TEST and while_writing >= WHILE_WRITING:
            break
    print(f"{kills} kills, {while_writing} while a checkpoint was being written")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_training_resumes_bit_for_bit(server, tmp_path, no_left_over, sent, code, number):
    """Five trainings are stopped. The command that each prints resumes it."""
    draw = random.Random(number)
    longer = [*TRAININGS[number].split(), "--set", "epochs=12"]
    finish(server, tmp_path / "uninterrupted", *longer)
    expected = outcome(tmp_path / "uninterrupted")
    stops = 0
    for attempt in itertools.count():
        assert attempt < 50, "too few signals hit a training"
        folder = tmp_path / f"run{attempt}"
        arguments = ["train", *COMMON.split(), *longer, "--run", str(folder)]
        process = subprocess.Popen(
            [sys.executable, "-m", "charlm", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A process in the background may have inherited that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while not any(folder.glob(f"checkpoint-*/{MANIFEST}")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(sent)
        out, err = process.communicate(timeout=300)
        if process.returncode == 0:
            continue  # it had ended before
        assert process.returncode == code, err
        assert err == ""
        assert json.loads((folder / "summary.json").read_text())["interrupted"]
        printed = re.search(r"^to resume: charlm train --resume --run (\S+)$", out, re.MULTILINE)
        assert printed[1] == str(folder)
        finish(server, folder, *longer, "--resume")
        assert outcome(folder) == expected, f"attempt {attempt}"
        no_left_over(folder, "metrics.jsonl", "summary.json", "report.html")
        assert len(list(folder.glob("checkpoint-*"))) <= 2
        stops += 1
        if stops == 5:
            break
