"""Ctrl-C, SIGTERM and a closed pipe, with charlm in a separate process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from charlm.cli import run

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="POSIX signals"),
    pytest.mark.usefixtures("handled"),
]

CHARLM = [sys.executable, "-m", "charlm"]
SMALL = ["train", "--hidden-size", "16", "--device", "cpu", "--run"]
TRAIN = [*CHARLM, *SMALL, "./run", "--minutes", "5"]
INTERRUPT, TERMINATE = (signal.SIGINT, 130), (signal.SIGTERM, 143)
HANGS = 300  # seconds: more than a busy machine needs
# `charlm` with a step that never ends, in a computation that does not return to Python.
ENDLESS = """
import ctypes, sys
from pathlib import Path
from charlm.cli import run
from charlm.tasks.language_model.model import LanguageModel

def forward(*inputs):
    Path("in a step").touch()
    while True:
        ctypes.CDLL(None).sleep(60)

LanguageModel.forward = forward
sys.exit(run(sys.argv[1:]))
"""


def start(folder, *command):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=folder, text=True, **pipes)


def wait_for_weights(process, folder):
    """Wait for the first checkpoint, which is written after the first epoch."""
    for _ in range(10 * HANGS):
        if list(folder.glob("checkpoint-*/manifest.json")):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("training has not written a checkpoint")


@pytest.mark.parametrize(
    ("number", "code"), [INTERRUPT, pytest.param(*TERMINATE, marks=pytest.mark.slow)]
)
def test_interrupted_training_saves_and_reports(tmp_path, number, code):
    """The signals themselves, and both in turn, are tried in `test_interrupts`."""
    process = start(tmp_path, *TRAIN, "--json")
    wait_for_weights(process, tmp_path / "run")
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS)
    assert process.returncode == code, err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["interrupted"]
    assert result["characters_seen"] > 0
    assert run(["generate", "--run", str(tmp_path / "run"), "--length", "5"]) == 0


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(*INTERRUPT, marks=pytest.mark.slow), TERMINATE]
)
def test_the_second_signal_quits_during_a_long_step(tmp_path, number, code):
    """No half-written checkpoint remains."""
    options = [*SMALL, "./run", "--epochs", "1", "--quiet"]
    process = start(tmp_path, sys.executable, "-c", ENDLESS, *options)
    while not (tmp_path / "in a step").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None  # it is still in the step, and would save after it
    process.send_signal(number)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == code, err
    assert err.strip() == ""
    assert not list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.parametrize(("number", "code"), [INTERRUPT, TERMINATE])
def test_a_signal_while_modules_are_imported_ends_quietly(number, code):
    """A shell gives the code 128 + N to a process that signal N has ended."""
    code_of_signal = f"""if True:
        import os, runpy, sys

        class Signal:
            def find_spec(self, name, path, target=None):
                if name == "charlm.cli":
                    os.kill(os.getpid(), {number})

        sys.meta_path.insert(0, Signal())
        sys.argv = ["charlm", "--help"]
        runpy.run_module("charlm", run_name="__main__")
    """
    done = subprocess.run([sys.executable, "-c", code_of_signal], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 - code, "", "")


def test_a_signal_before_training_ends_the_command_at_once(tmp_path):
    """The command waits for the rest of standard input; what a pipe cannot hold was read."""
    process = start(tmp_path, *CHARLM, "train", "--corpus", "-")
    process.stdin.write("a\n" * 1_000_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_ends_quietly(tmp_path):
    small = [*SMALL, str(tmp_path / "run"), "--epochs", "1", "--max-chars", "5000", "--quiet"]
    assert run(small) == 0
    process = start(tmp_path, *CHARLM, "generate", "--quiet", "--length", "100000", "--run", "run")
    process.stdout.read(100)
    process.stdout.close()
    process.wait(timeout=HANGS)
    assert process.returncode == 0
    assert process.stderr.read() == ""
