"""Measure the steps of a training in two processes, beside those of one process with one thread.

    python -m benchmarks tables processes [--rounds N] [--units 64 256 768]

Both have the same batches, and take turns. The table has the medians of the rounds' ratios: of the
time of a step, and of its processor time, which other programs hardly change. Of two processes,
the one that needs more counts. A machine with two idle cores has the second ratio, less what the
processes wait for each other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.commands import run
from benchmarks.harness import Options
from benchmarks.results import describe, surroundings, table
from charlm.launching import leave
from charlm.processes import joined
from charlm.runs import Run
from charlm.tasks import TASKS
from charlm.training.loop import open_trainer

SIZES = {64: (16, 32, 100), 256: (32, 64, 30), 768: (128, 64, 6)}
"""For the units of an LSTM: rows of a batch, steps of a sequence, updates that are measured."""
WARM_UP = 2  # updates before


def train(units: int) -> None:
    """Measure some updates as one of the processes; one prints the seconds of an update."""
    rows, steps, updates = SIZES[units]
    task = TASKS["language-model"]
    training = {"batch_size": rows, "seq_len": steps, "epochs": 10_000, "device": "cpu"}
    settings = [{"model": {"cell": "lstm", "hidden_size": units}, "training": training}]
    plan = task.plan(settings, None, progress=False)
    with joined() as world:
        new = Run.create("./run", plan.config, plan.corpus) if world.first else None
        made: Any = world.from_first(new)
        trainer, _ = open_trainer(made, plan.corpus, torch.device("cpu"))
        for _ in range(WARM_UP):
            trainer.update()
        world.meet()
        wall, processor = time.monotonic(), time.process_time()
        for _ in range(updates):
            trainer.update()
        most = max(world.joined([time.process_time() - processor]))
        if world.first:
            seconds = {"wall": time.monotonic() - wall, "processor": most}
            print(json.dumps({name: each / updates for name, each in seconds.items()}))


def measured(units: int, processes: int) -> dict[str, float]:
    """The seconds of an update, by the clock and of the processor."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        words = [__file__, "--train", str(units)]
        out = run([sys.executable, *launcher, *words], Path(folder), OMP_NUM_THREADS="1")
    found: dict[str, float] = json.loads(out)
    return found


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables processes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--units", type=int, nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--train", type=int, choices=SIZES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.train:
        train(options.train)
        leave(0)
    lines = []
    for units in options.units:
        ratios: dict[str, list[float]] = {"processor": [], "wall": []}
        for _ in range(options.rounds):
            one, two = measured(units, 1), measured(units, 2)
            for name, every in ratios.items():
                every.append(one[name] / two[name])
        rows, steps, _ = SIZES[units]
        cells = [
            f"{statistics.median(every):.2f} ({min(every):.2f} to {max(every):.2f})"
            for every in ratios.values()
        ]
        lines.append([str(units), f"{rows} rows of {steps}", *cells])
    header = ["units", "batch", "processor time", "time"]
    where = surroundings(Options(folder=Path(), device=torch.device("cpu"), threads=1))
    print("\n".join([*table(header, lines), "", describe(where)]))


if __name__ == "__main__":
    main(sys.argv[1:])
