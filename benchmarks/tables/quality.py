"""Each technique with three seeds beside a base, and write docs/quality.md's tables.

    python -m benchmarks tables quality --corpus timemachine --jobs 2

A training is not repeated if benchmarks/results/quality.json has it, so a study can be made in
parts: --seconds ends the command after that time, and trainings that still run are lost.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.commands import CHARLM
from benchmarks.harness import Options
from benchmarks.results import describe, surroundings, table, write_between
from charlm.strict_json import dumps

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"
RESULTS = Path(__file__).parents[1] / "results" / "quality.json"
BEGIN, END = (
    "<!-- the tables: python -m benchmarks tables quality -->",
    "<!-- end of the tables -->",
)
SEEDS = (0, 1, 2)
BASE = "base"
EPOCHS = {"tinyshakespeare": 3, "timemachine": 8}
COMMON = (  # of the base: nothing in it comes from the plan, which differs between texts
    *("hidden_size=256", "ngram_order=1", "lr=0.006", "weight_decay=0.01", "dropout=0.1"),
    *("output_dropout=0.1", "input_dropout=0", "embedding_dropout=0", "weight_dropout=0"),
    *("activation=0", "temporal_activation=0"),
)
PLAIN = ("--device", "cpu", "--run", "./run", "--quiet", "--json")
GROUPS = {
    "Regularisation": (
        *("output_dropout=0", "output_dropout=0.3", "input_dropout=0.1", "weight_dropout=0.2"),
        *("embedding_dropout=0.05", "zoneout_hidden=0.05 zoneout_cell=0.05", "embedding=tied"),
        *("activation=1 temporal_activation=0.5", "past_decode=0.01", "weight_decay=0.1"),
        *("weight_decay=0.3", "weight_decay=0.1 output_dropout=0.3"),
    ),
    "Optimisers, schedules, averages": (
        *("beta1=0 lr=0.003", "optimiser=rmsprop lr=0.002", "optimiser=sgd-momentum lr=0.5"),
        *("lr=0.003", "lr=0.012", "batch_size=32"),
        *("schedule=linear", "schedule=trapezoid", "schedule=constant", "schedule=plateau"),
        *("averaging=0.999", "schedule=constant averaging=0.999", "schedule=constant swa=0.5"),
        "optimiser=sgd lr=10 schedule=constant nt_asgd=3",
    ),
    "Cells, layers, n-grams": (
        *("cell=gru", "cell=rnn lr=0.002", "cell=lstm-layernorm", "cell=mogrifier lr=0.003"),
        *("cell=mlstm lr=0.003", "cell=mingru num_layers=3 residual=true"),
        *("cell=minlstm num_layers=3 residual=true", "num_layers=2", "num_layers=2 residual=true"),
        *("num_layers=2 skip=true", "ngram_order=3 ngram_dropout=0.3", "mix_ngram=true"),
    ),
}
Runs = dict[str, dict[str, float]]  # nats per character by technique and seed


class Study:
    """The results of a corpus, in a file that grows with each training."""

    def __init__(self, path: Path, corpus: str) -> None:
        self.path, self.corpus, self.lock = path, corpus, threading.Lock()
        self.runs: Runs = self.read().get(corpus, {}).get("runs", {})

    def read(self) -> dict[str, Any]:
        """All studies of the file, by corpus."""
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def add(self, technique: str, seed: int, nats: float, where: dict[str, Any]) -> None:
        """Keep the result of a training."""
        with self.lock:
            self.runs.setdefault(technique, {})[str(seed)] = nats
            everything = self.read() | {self.corpus: {"where": where, "runs": self.runs}}
            self.path.write_text(dumps(everything) + "\n", encoding="utf-8")
            print(f"{self.corpus}, seed {seed}, {technique}: {nats:.4f}", flush=True)


def train(corpus: str, technique: str, seed: int, seconds: float) -> float | None:
    """The validation loss of a training in nats per character; None if it took too long."""
    changes = [] if technique == BASE else technique.split()
    words = [word for change in (*COMMON, *changes) for word in ("--set", change)]
    options = ("--corpus", corpus, "--epochs", str(EPOCHS[corpus]), "--seed", str(seed))
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*CHARLM, "train", *options, *words, *PLAIN],
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=True,
                stdout=subprocess.PIPE,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return None
    summary = json.loads(done.stdout)
    mixture = summary.get("mixture")
    return math.log(mixture["mixture_perplexity"] if mixture else summary["valid_perplexity"])


def run(study: Study, jobs: int, seconds: float) -> None:
    """Train what is missing, all techniques with one seed before the next."""
    import torch

    end = time.monotonic() + seconds
    where = surroundings(Options(folder=Path(), device=torch.device("cpu"), threads=1))

    def one(technique: str, seed: int) -> None:
        left = end - time.monotonic()
        if left > 0 and (nats := train(study.corpus, technique, seed, left)) is not None:
            study.add(technique, seed, nats, where)

    techniques = [BASE, *(each for group in GROUPS.values() for each in group)]
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(one, technique, seed)
            for seed in SEEDS
            for technique in techniques
            if str(seed) not in study.runs.get(technique, {})
        ]
    for each in waiting:
        each.result()


def verdict(values: list[float], base: list[float]) -> str:
    """Better or worse if all seeds are on one side of all seeds of the base."""
    if max(values) < min(base):
        return "better"
    return "worse" if min(values) > max(base) else "no difference"


def rows(runs: Runs, techniques: tuple[str, ...]) -> Iterator[list[str]]:
    """The lines of a table, from the best to the worst."""
    base = [*runs[BASE].values()]
    found = {name: [*runs[name].values()] for name in techniques if name in runs}
    for name in sorted(found, key=lambda name: statistics.median(found[name])):
        values = found[name]
        middle = statistics.median(values)
        yield [
            f"`{name}`",
            f"{middle:.3f}",
            f"{min(values):.3f} to {max(values):.3f}",
            f"{middle - statistics.median(base):+.3f}",
            verdict(values, base) if len(values) == len(base) == len(SEEDS) else "too few seeds",
        ]


def section(corpus: str, study: dict[str, Any]) -> Iterator[str]:
    """The tables of a text."""
    runs: Runs = study["runs"]
    base = [*runs[BASE].values()]
    yield f"## {corpus}, {EPOCHS[corpus]} epochs"
    yield ""
    yield f"    charlm train --corpus {corpus} --epochs {EPOCHS[corpus]} --seed N \\"
    yield f"      {' '.join(f'--set {setting}' for setting in COMMON)}"
    yield ""
    yield (
        f"The base: {statistics.median(base):.3f} nats per character "
        f"({min(base):.3f} to {max(base):.3f})."
    )
    for name, techniques in GROUPS.items():
        yield ""
        header = [name, "nats/char, median", "all seeds", "beside the base", "verdict"]
        yield from table(header, rows(runs, techniques))
    yield ""
    yield describe(study["where"])
    yield ""


def main(arguments: list[str]) -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables quality", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--corpus", choices=EPOCHS, help="default: only write the page")
    parser.add_argument("--jobs", type=int, default=1, help="trainings that run side by side")
    parser.add_argument("--seconds", type=float, default=86400.0, help="of them all together")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.corpus is not None:
        run(Study(options.results, options.corpus), options.jobs, options.seconds)
    studies = json.loads(options.results.read_text())
    done = [corpus for corpus in EPOCHS if corpus in studies]
    lines = [line for corpus in done for line in section(corpus, studies[corpus])]
    write_between(PAGE, BEGIN, END, "\n".join(lines))
    print(PAGE)
