"""Trainings are killed at random moments and resumed, and end as an uninterrupted training ends."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.runs.checkpoint import MANIFEST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them"),
]

KILLS_OF_A_TEST = 10
WHILE_WRITING = 3  # of those, at least
TEST_NUMBERS = range(20)


def is_incomplete(folder: Path) -> bool:
    checkpoints = list(folder.glob("checkpoint-*"))
    incomplete = any(not (path / MANIFEST).exists() for path in checkpoints)
    return incomplete or any(folder.glob("**/.*.tmp"))


@pytest.mark.parametrize("number", TEST_NUMBERS)
def test_killed_training_resumes_bit_for_bit(trainings, tmp_path, no_left_over, number):
    draw = random.Random(number)
    options = trainings.options(number)
    begun = time.monotonic()
    trainings.finish(tmp_path / "uninterrupted", *options)
    seconds = time.monotonic() - begun
    expected = trainings.outcome(tmp_path / "uninterrupted")
    kills = while_writing = 0
    for attempt in itertools.count():
        assert attempt < 10 * KILLS_OF_A_TEST, "too few kills hit a training or a save"
        # Some kills are aimed: they wait until the process writes a checkpoint.
        aimed = while_writing < WHILE_WRITING
        folder = tmp_path / f"run{attempt}"
        process = trainings.start(folder, *options)
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
        trainings.finish(folder, *options, *resume)
        assert trainings.outcome(folder) == expected, f"kill {kills}"
        no_left_over(folder, "metrics.jsonl", "summary.json", "report.html")
        assert len(list(folder.glob("checkpoint-*"))) <= 2
        if kills >= KILLS_OF_A_TEST and while_writing >= WHILE_WRITING:
            break
    print(f"{kills} kills, {while_writing} while a checkpoint was being written")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_training_resumes_bit_for_bit(
    trainings, tmp_path, no_left_over, sent, code, number
):
    """Five trainings are stopped. The command that each prints resumes it."""
    draw = random.Random(number)
    longer = [*trainings.options(number), "--set", "epochs=12"]
    trainings.finish(tmp_path / "uninterrupted", *longer)
    expected = trainings.outcome(tmp_path / "uninterrupted")
    stops = 0
    for attempt in itertools.count():
        assert attempt < 50, "too few signals hit a training"
        folder = tmp_path / f"run{attempt}"
        arguments = ["train", *trainings.common.split(), *longer, "--run", str(folder)]
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
        trainings.finish(folder, *longer, "--resume")
        assert trainings.outcome(folder) == expected, f"attempt {attempt}"
        no_left_over(folder, "metrics.jsonl", "summary.json", "report.html")
        assert len(list(folder.glob("checkpoint-*"))) <= 2
        stops += 1
        if stops == 5:
            break
