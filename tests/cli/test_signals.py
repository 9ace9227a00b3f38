"""Ctrl-C, SIGTERM and a closed pipe, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")

TRAIN = [sys.executable, "-m", "charlm", "train", "--minutes", "5", "--run", "run",
         "--hidden-size", "16", "--device", "cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def _heeded():
    """Children inherit it where what runs in the background was told to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for_weights(process, folder):
    """The first writing comes with the first epoch's end."""
    for _ in range(600):
        if list(folder.glob("checkpoint-*/manifest.json")):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("training did not come to save its weights")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_training_saves_and_says_so(tmp_path, number, code):
    process = subprocess.Popen(
        [*TRAIN, "--json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_weights(process, tmp_path / "run")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["interrupted"]
    assert result["characters_seen"] > 0
    generate = [sys.executable, "-m", "charlm", "generate", "--run", "run", "--length", "5"]
    done = subprocess.run(generate, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_quits_within_a_step_that_takes_long(tmp_path, number, code):
    """Hours, here; nothing of the run is half-written for a later start."""
    long = ["--hidden-size", "3000", "--batch-size", "64", "--seq-len", "200", "--cell", "lstm"]
    process = subprocess.Popen(
        [*TRAIN, *long, "--quiet"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run" / "run.json").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None  # it is within the step, and would save after it
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.strip() == ""
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_a_signal_before_training_ends_the_command_at_once(tmp_path):
    """Reading standard input, which never comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", "train", "--corpus", "-"],
        cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_ends_quietly(tmp_path):
    train = [word for word in TRAIN if word not in ("--minutes", "5")]
    subprocess.run([*train, "--epochs", "1", "--quiet"], cwd=tmp_path, check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", "generate", "--run", "run", "--length", "100000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.read(100)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.returncode == 0
    assert process.stderr.read() == ""
