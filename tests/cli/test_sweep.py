"""``charlm sweep``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.cli.interrupts import StopFlag

pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[sweep]'")

FILE = """
[sweep]
trials = {trials}
[corpus]
max_chars = {characters}
[model]
hidden_size = 8
[training]
epochs = 1
[search]
lr = {{ low = 0.001, high = 0.1, log = true }}
dropout = [0.0, 0.2]
"""


@pytest.fixture
def file(folder: Path) -> Callable[..., Path]:
    def write(trials: int = 2, characters: int = 3000) -> Path:
        path = folder / "tiny.toml"
        path.write_text(FILE.format(trials=trials, characters=characters))
        return path

    return write


def test_a_sweep(charlm, file):
    outcome = charlm("sweep", file(), "--plot", "trials.svg")
    assert outcome.code == 0, outcome.err
    header, best, other, *words = outcome.out.splitlines()
    assert header.split() == ["trial", "valid", "perplexity", "scorings", "lr", "dropout"]
    assert (best.split()[1], other.split()[1]) == ("complete", "complete")
    assert float(best.split()[2]) <= float(other.split()[2])
    assert words[0] == "2 trials of 2: 2 complete"
    run = words[1].rpartition("run ")[2]
    assert words[2].startswith("next: charlm generate --prefix ")
    assert words[2].endswith(f"--run {run}")
    assert words[4].startswith("  charlm train --run tiny-best --seeds 0-2 --set corpus.max_chars=")
    assert words[6].startswith("  charlm runs compare tiny-best-seed0 ")
    assert "warning: model.dropout is searched, but has no effect: it works between" in outcome.err
    assert "trial 0: lr " in outcome.err
    assert "trial 1: valid perplexity " in outcome.err
    assert Path("trials.svg").read_text().startswith("<?xml")

    # The runs are ordinary ones, and a second start has nothing to do.
    assert charlm("runs", "compare", "sweeps/tiny/trial-0000", "sweeps/tiny/trial-0001").code == 0
    again = charlm("sweep", file(), "--json")
    assert again.json["trials_finished"] == 2
    assert again.json["best"]["run"] == run
    assert again.err == ""
    assert charlm("sweep", file(3), "--json", "--quiet").json["trials_finished"] == 3


def test_an_interrupted_sweep_goes_on(charlm, file, monkeypatch):
    looks: list[int] = []

    def interrupted(self):
        looks.append(1)
        self.signal_number = signal.SIGINT if len(looks) > 80 else None
        return self.signal_number is not None

    with monkeypatch.context() as patch:
        patch.setattr(StopFlag, "__call__", interrupted)
        outcome = charlm("sweep", file())
    assert outcome.code == 130
    assert "trial 0: interrupted after" in outcome.err
    assert "1 trial of 2: 1 unfinished" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("to continue: charlm sweep ")
    assert charlm("sweep", file()).out.splitlines()[3] == "2 trials of 2: 2 complete"


def test_mistakes(charlm, file, folder):
    assert "cannot read the configuration nothing.toml" in charlm("sweep", "nothing.toml").error
    (folder / "wrong.toml").write_text("[search]\nlrr = [1, 2]\n")
    outcome = charlm("sweep", "wrong.toml")
    assert outcome.code == 2
    assert outcome.error == "wrong.toml, [search] lrr: unknown key: 'lrr'"
    assert outcome.hint == "did you mean lr?"
    (folder / "short.toml").write_text("[corpus]\nmax_chars = 200\n[search]\nlr = [1, 2]\n")
    outcome = charlm("sweep", "short.toml")
    assert (outcome.code, outcome.out) == (1, "")
    assert not Path("sweeps/short/trial-0000").exists()
    assert charlm("sweep", file(), "--plot", "trials.txt").code == 2
    (folder / "all.toml").write_text(
        "[corpus]\nmax_chars = 3000\nsplit = [0.9, 0.0, 0.1]\n[search]\nlr = [1, 2]\n"
    )
    assert "has no validation split" in charlm("sweep", "all.toml").error


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_two_workers_interrupted_and_killed(file, folder):
    """Interrupted by Ctrl-C, by SIGTERM and by SIGKILL, and started again each time."""
    path = file(12, 10_000)
    command = [sys.executable, "-m", "charlm", "sweep", str(path), "--jobs", "2", "--json"]
    about = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def begun() -> int:
        return len([*folder.glob("sweeps/tiny/trial-*/run.json")])

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = subprocess.Popen(command, env=environment, **about)  # type: ignore[call-overload]
        before, end = begun(), time.monotonic() + 120
        while begun() < before + 3 and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate()
        assert process.returncode == code
    content = json.loads(subprocess.run(command, env=environment, check=True, **about).stdout)  # type: ignore[call-overload]
    assert sorted(trial["trial"] for trial in content["trials"]) == [*range(12)]
    assert {trial["state"] for trial in content["trials"]} <= {"complete", "pruned"}
    assert begun() == 12
