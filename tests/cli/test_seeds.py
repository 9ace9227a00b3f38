"""``train --seeds``: the same training with several seeds."""

from __future__ import annotations

import pickle
import signal
from pathlib import Path

import pytest

from charlm.cli.interrupts import StopFlag
from charlm.config.seeds import parse_seeds
from charlm.errors import UsageError
from charlm.jobs import Job
from charlm.runs import Run

TRAIN = ("train", "--hidden-size", 8, "--max-chars", 3000, "--epochs", 1)


def weights(folder):
    return {name: tensor.tolist() for name, tensor in Run.open(folder).read_weights("best").items()}


def test_a_run_for_each_seed(charlm):
    outcome = charlm(*TRAIN, "--seeds", "0,2", "--run", "mine")
    assert outcome.code == 0, outcome.err
    header, first, second, spread = outcome.out.splitlines()
    names = "seed  run train perplexity  valid perplexity  epochs  time"
    assert header.split() == names.split()
    assert first.split()[:2] == ["0", "mine-seed0"]
    assert second.split()[:2] == ["2", "mine-seed2"]
    assert spread.startswith("valid perplexity over 2 seeds: mean ")
    assert [run.config.training.seed for run in map(Run.open, ("mine-seed0", "mine-seed2"))] == [
        0,
        2,
    ]
    # A seed's weights are those of a training with that seed alone.
    assert charlm(*TRAIN, "--seed", 2, "--run", "alone").code == 0
    assert weights("mine-seed2") == weights("alone") != weights("mine-seed0")


def test_interrupted_seeds_go_on(charlm, monkeypatch):
    def interrupted(self):
        begun = any(Path("checkpoints").glob("*-seed1/run.json"))
        self.signal_number = signal.SIGINT if begun else None
        return begun

    with monkeypatch.context() as patch:
        patch.setattr(StopFlag, "__call__", interrupted)
        outcome = charlm(*TRAIN, "--seeds", "0-2")
    assert outcome.code == 130
    folders = sorted(Path("checkpoints").iterdir())
    assert [folder.name[-6:] for folder in folders] == ["-seed0", "-seed1"]
    before = (folders[0] / "run.json").stat().st_mtime_ns
    base = str(folders[0]).removesuffix("-seed0")
    assert outcome.out.splitlines()[-1] == (
        f"to resume: the same command with --resume --run {base}"
    )
    content = charlm(*TRAIN, "--seeds", "0-2", "--resume", "--json").json
    assert [run["run"] for run in content["runs"]] == [f"{base}-seed{seed}" for seed in range(3)]
    assert not any(run["interrupted"] for run in content["runs"])
    (group,) = content["groups"]
    assert group["seeds"] == [0, 1, 2]
    assert group["values"] == [run["valid_perplexity"] for run in content["runs"]]
    assert (folders[0] / "run.json").stat().st_mtime_ns == before
    assert charlm(*TRAIN, "--seed", 1, "--run", "alone").code == 0
    assert weights(folders[1]) == weights("alone")


def test_lines_of_trainings_side_by_side(charlm, monkeypatch):
    """Without the processes, which import torch."""

    def in_turn(function, arguments, jobs, *, should_stop, note):
        sent = pickle.loads(pickle.dumps(arguments))
        return [function(*each, Job(should_stop, note)) for each in sent]

    monkeypatch.setattr("charlm.cli.seeds.run_jobs", in_turn)
    outcome = charlm(*TRAIN, "--seeds", "0-1", "--jobs", 2, "--json")
    assert [run["seed"] for run in outcome.json["runs"]] == [0, 1]
    lines = [line for line in outcome.err.splitlines() if "epoch 1:" in line]
    assert [line.split(":")[0] for line in lines] == ["seed 0", "seed 1"]


@pytest.mark.slow
def test_side_by_side(charlm):
    outcome = charlm(*TRAIN, "--seeds", "0-1", "--run", "mine", "--jobs", 2, "--json")
    assert [run["seed"] for run in outcome.json["runs"]] == [0, 1]
    assert "seed 1: 0:0" in outcome.err
    assert charlm(*TRAIN, "--seed", 1, "--run", "alone").code == 0
    assert weights("mine-seed1") == weights("alone")


def test_other_tasks(charlm, folder):
    for label in ("good", "bad"):
        for split in ("train", "test"):
            (folder / "data" / split / label).mkdir(parents=True)
            for number in range(12):
                text = f"{label} {label} text {number}"
                (folder / "data" / split / label / f"{number}.txt").write_text(text)
    options = ("--data", "data", "--hidden-size", 4, "--epochs", 1, "--seeds", "0-1")
    content = charlm("classify", "train", *options, "--json").json
    assert [run["seed"] for run in content["runs"]] == [0, 1]
    assert content["groups"][0]["metric"] == "valid_accuracy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", "0-"), "--seeds '0-': '0-' is neither a seed nor a range"),
        (("--seeds", "4-0"), "--seeds '4-0': '4-0' is neither a seed nor a range"),
        (("--seeds", "4-0", "--dry-run"), "--seeds '4-0': '4-0' is neither a seed nor a range"),
        (("--seeds", "0-1", "--processes", "2", "--dry-run"), "--seeds trains each seed in one"),
        (("--seeds", "0-1000000"), "--seeds '0-1000000': more than 1,000"),
        (("--seeds", "0-1", "--seed", "3"), "--seeds and a seed are both given"),
        (("--seeds", "0-1", "--set", "seed=3"), "--seeds and a seed are both given"),
        (("--seeds", "0-1", "--corpus", "-"), "--seeds reads the text once for each seed"),
        (("--seeds", "0-1", "--resume"), "there are no runs of several seeds to resume"),
        (("--seeds", "0-1", "--hidden-size", "0"), "model.hidden_size is 0; it must be"),
        (("--jobs", "2"), "--jobs is for --seeds"),
    ],
)
def test_mistakes(charlm, options, message):
    assert charlm("train", *options).error.startswith(message)
    assert not Path("checkpoints").exists()


def test_existing_runs_are_kept(charlm):
    Path("checkpoints/mine-seed1").mkdir(parents=True)
    outcome = charlm("train", "--seeds", "0-1", "--run", "mine")
    assert outcome.error == f"{Path('checkpoints/mine-seed1')} exists already"
    assert not Path("checkpoints/mine-seed0").exists()


def test_seeds():
    assert parse_seeds("0-3,2, 7") == [0, 1, 2, 3, 7]
    assert parse_seeds(str(2**63 - 1)) == [2**63 - 1]
    for wrong in ("", "a", "-1", "1.5", "0-1-2", str(2**63), "٣"):
        with pytest.raises(UsageError):
            parse_seeds(wrong)
