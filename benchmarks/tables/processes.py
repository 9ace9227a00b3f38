"""The speed of a training in two processes, beside one process with one thread.

    python -m benchmarks tables processes [--rounds N] [--units 64 256 768]

Both have the same batches. They take turns, and the table has the median of the rounds' ratios:
characters per second while training, without the set-up. It also has the ratio of one process with
two threads.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks.commands import charlm
from benchmarks.harness import Options
from benchmarks.results import describe, surroundings, table

SIZES = {  # units: rows of a batch, steps of a sequence, updates of a training
    64: (16, 32, 600),
    256: (32, 64, 60),
    768: (64, 64, 12),
}
TEXT = 30_000  # characters of the bundled text, at most
CONTENDERS = {
    "2 processes": (["--processes", "2"], "1"),
    "2 threads": ([], "2"),
    "1 thread": ([], "1"),
}


def speed(folder: Path, units: int, words: list[str], threads: str, name: str) -> float:
    """Characters per second of one training."""
    rows, steps, updates = SIZES[units]
    epochs = math.ceil(updates * rows * steps / TEXT)
    characters = rows * steps * (updates // epochs) + steps + 1
    command = [
        *("train", "--cell", "lstm", "--hidden-size", str(units), "--device", "cpu"),
        *("--batch-size", str(rows), "--seq-len", str(steps), "--max-chars", str(characters)),
        *("--epochs", str(epochs), "--set", "split=1,0,0", "--set", "sample_length=1"),
        *("--set", "save_minutes=none", "--run", f"./{name}"),
    ]
    return float(charlm(folder, *command, *words, OMP_NUM_THREADS=threads)["characters_per_second"])


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables processes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--units", type=int, nargs="+", choices=SIZES, default=[*SIZES])
    options = parser.parse_args(arguments)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for units in options.units:
            ratios: dict[str, list[float]] = {"2 processes": [], "2 threads": []}
            for number in range(options.rounds):
                found = {
                    name: speed(Path(folder), units, *how, f"{units}-{number}-{name[:3]}")
                    for name, how in CONTENDERS.items()
                }
                for name, every in ratios.items():
                    every.append(found[name] / found["1 thread"])
            rows, steps, _ = SIZES[units]
            every = ratios["2 processes"]
            lines.append(
                [
                    *(str(units), f"{rows} x {steps}", f"**{statistics.median(every):.2f}**"),
                    f"{min(every):.2f}-{max(every):.2f}",
                    f"{statistics.median(ratios['2 threads']):.2f}",
                ]
            )
        where = surroundings(Options(folder=Path(folder), device=torch.device("cpu"), threads=1))
    header = ["units", "batch", "2 processes", "rounds", "1 process, 2 threads"]
    print("\n".join([*table(header, lines), "", describe(where)]))
