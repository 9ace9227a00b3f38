"""A task of the user's own, defined wholly in this file, works with the ordinary commands.

The task: predict whether a row of bits has an odd number of ones. A file has one row a line.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.cli import run
from charlm.config import NetworkSection, Section, TaskConfig, TrainingSection, setting
from charlm.models.build import build_layers
from charlm.models.recurrent_model import RecurrentModel
from charlm.runs import Run
from charlm.task import Metric, Report, Table, Task, register
from charlm.training.objective import Objective

SPLITS = {"train": 40, "valid": 10, "test": 10}


@dataclass(frozen=True, kw_only=True)
class BitsSection(Section, section="corpus"):
    source: str = setting("bits.txt", "The file of rows of bits.", option="--data", resumable=True)


@dataclass(frozen=True, kw_only=True)
class ParityNetwork(NetworkSection):
    cell: str = "gru"
    hidden_size: int = 8


@dataclass(frozen=True, kw_only=True)
class ParityTraining(TrainingSection):
    batch_size: int = 8
    epochs: int | None = 4
    minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class ParityConfig(TaskConfig):
    task: ClassVar[str] = "parity"
    corpus: BitsSection = field(default_factory=BitsSection)
    model: ParityNetwork = field(default_factory=ParityNetwork)
    training: ParityTraining = field(default_factory=ParityTraining)


class Bits(tuple):
    """The vocabulary: the characters of the rows."""

    def to_json(self) -> list[str]:
        return list(self)


@dataclass(frozen=True, kw_only=True)
class Rows:
    source: str
    rows: tuple[str, ...]
    name: str = "bits"
    vocabulary: Bits = field(default_factory=lambda: Bits("01"))
    notices: tuple[str, ...] = ()
    raw: None = None

    @property
    def split_sizes(self) -> tuple[int, ...]:
        return tuple(SPLITS.values())

    def describe(self) -> dict[str, Any]:
        digest = hashlib.sha256("\n".join(self.rows).encode()).hexdigest()
        return {"name": self.name, "source": self.source, "sha256": digest,
                "split": list(self.split_sizes)}  # fmt: skip

    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """(T, N) bits and (N,) parities of a split."""
        start = sum(list(SPLITS.values())[: list(SPLITS).index(split)])
        rows = self.rows[start : start + SPLITS[split]]
        bits = torch.tensor([[int(bit) for bit in row] for row in rows]).T
        return bits, bits.sum(0) % 2


class ParityModel(RecurrentModel):
    """Bits to the logits of an even and an odd number of ones."""

    def __init__(self, config: ParityNetwork) -> None:
        stack = build_layers(config, 2, bidirectional=False)
        super().__init__(None, stack, input_dropout=config.input_dropout,
                         output_dropout=config.output_dropout)  # fmt: skip
        self.head = nn.Linear(stack.output_size, 2)

    def forward(self, bits: Tensor) -> Tensor:
        outputs = self.stack.outputs(self.embed(bits), self.initial_state(bits.shape[1]))
        return self.head(self.output_dropout(outputs[-1:]).squeeze(0))


class ParityOfRow(Objective):
    def __init__(self, task: Task, run: Run, corpus: Rows, device: torch.device) -> None:
        self.task, self.batch_size = task, run.config.training.batch_size
        self.train, self.valid = (
            [tensor.to(device) for tensor in corpus.tensors(split)] for split in ("train", "valid")
        )
        self.train_size, self.valid_size = SPLITS["train"], SPLITS["valid"]

    def draw_batches(self, generator):
        return torch.randperm(self.train_size, generator=generator).split(self.batch_size)

    def loss(self, model, batch, state):
        bits, parities = self.train
        loss = F.cross_entropy(model(bits[:, batch]), parities[batch], reduction="sum")
        return loss, len(batch), None

    def train_metric(self, loss):
        return loss.mean

    def score(self, model, size, should_stop):
        bits, parities = self.valid
        return error_rate(model, bits[:, :size], parities[:size])


@torch.no_grad()
def error_rate(model: ParityModel, bits: Tensor, parities: Tensor) -> float:
    return float((model.eval()(bits).argmax(1) != parities).float().mean())


class ParityTask(Task):
    command = "charlm parity"
    help = "Train a network to tell odd rows from even ones."
    train_help = "Train on a file of rows of bits."
    eval_help = "Score a trained network on a part of the rows."
    config_type = ParityConfig
    unit = "rows"
    train_metric = Metric(name="loss")
    valid_metric = Metric(name="error_rate", label="error rate")

    def load_corpus(self, config, corpora_dir, *, vocabulary=None, kept=None, progress=False):
        path = Path(config.corpus.source)
        return Rows(source=str(path), rows=tuple(path.read_text().split()))

    def read_vocabulary(self, content):
        return Bits(content)

    def facts(self, corpus):
        return "rows of bits", {"bits": len(corpus.rows[0])}

    def build_model(self, config, vocabulary):
        return ParityModel(config.model)

    def objective(self, run, corpus, device):
        return ParityOfRow(self, run, corpus, device)

    def evaluate(self, run, corpus, split, device, should_stop, options=None):
        value = error_rate(run.load_model(), *corpus.tensors(split))
        key = self.valid_metric.key(split)
        table = Table(("", "error rate"), [("rows", f"{value:.2f}")])
        return Report(content={"split": split, key: value}, blocks=[f"{split} part", table])


if __name__ == "__main__":  # the command line with the task, in a process that can be killed
    register(ParityTask())
    sys.exit(run(sys.argv[1:]))


@pytest.fixture
def parity(working_folder, monkeypatch):
    """Runs a command with the task in the registry; gives what it printed as JSON."""
    from charlm.task import TASKS

    monkeypatch.setitem(TASKS, "parity", ParityTask())
    draw = random.Random(0)
    rows = ["".join(draw.choice("01") for _ in range(6)) for _ in range(sum(SPLITS.values()))]
    Path("bits.txt").write_text("\n".join(rows))


def command(*arguments: str) -> list[str]:
    return [sys.executable, __file__, *arguments]


def contents(folder: Path) -> dict[str, bytes]:
    """The tensors of the newest checkpoint, by file."""
    newest = max(folder.glob("checkpoint-*"))
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def as_json(capsys, *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_is_trained_scored_listed_shown_compared_and_plotted(parity, capsys):
    trained = as_json(capsys, "parity", "train", "--run", "./a", "--seed", "1")
    assert (trained["task"], trained["rows_seen"]) == ("parity", 4 * SPLITS["train"])
    assert 0 <= trained["valid_error_rate"] <= 1
    scored = as_json(capsys, "parity", "eval", "--run", "a")
    assert (scored["split"], scored["test_error_rate"]) == ("test", trained["test_error_rate"])
    run(["parity", "train", "--run", "checkpoints/b", "--cell", "rnn", "--epochs", "1"])
    assert "valid error rate 0." in capsys.readouterr().out
    (listed,) = as_json(capsys, "runs", "list")["runs"]
    assert (listed["cell"], listed["task"]) == ("rnn", "parity")
    shown = as_json(capsys, "runs", "show", "a", "--plot", "a.svg")
    assert [row["valid_error_rate"] for row in shown["metrics"]][-1] is not None
    assert "valid error rate" in Path("a.svg").read_text()
    (drawn,) = as_json(capsys, "report", "a")["reports"]
    assert "error rate" in Path(drawn["file"]).read_text()
    compared = as_json(capsys, "runs", "compare", "a", "b")
    assert compared["differing"]["model.cell"] == ["gru", "rnn"]
    plan = as_json(capsys, "parity", "train", "--dry-run", "--set", "hidden_size=3")
    assert (plan["bits"], plan["config"]["model"]["hidden_size"]) == (6, 3)
    assert run(["parity", "train", "--set", "hidden_size=0"]) == 2
    assert run(["parity", "--help"]) == 0
    assert "odd rows" in capsys.readouterr().out


@pytest.mark.slow
def test_it_is_killed_and_resumes_bit_for_bit(parity, working_folder):
    long = ("--epochs", "60", "--set", "save_steps=1", "--quiet")
    subprocess.run(command("parity", "train", "--run", "./whole", *long), check=True)
    killed = subprocess.Popen(command("parity", "train", "--run", "./killed", *long))
    deadline = time.monotonic() + 120
    while len(list(Path("killed").glob("checkpoint-*/manifest.json"))) < 2:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() != 0
    resume = ("parity", "train", "--resume", "--run", "killed", "--quiet")
    subprocess.run(command(*resume), check=True)
    assert contents(Path("killed")) == contents(Path("whole"))
