"""Measure how long short commands take, beside the parts that they cannot do without.

    python benchmarks/startup.py [--rounds N]

A model is trained with the defaults for a few seconds. Then, in each of N rounds, each command runs
once in a process of its own: `charlm generate` and `python -c "import torch"`, `charlm runs list`
and `charlm --help`. The script prints a Markdown table with the median wall times, and the ratio of
each pair, round by round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

CHARLM = (sys.executable, "-m", "charlm")
GENERATE = (*CHARLM, "generate", "--length", "300", "--exact-length", "--device", "cpu")
PAIRS = {
    "generate 300 characters / import torch": (GENERATE, (sys.executable, "-c", "import torch")),
    "runs list / --help": ((*CHARLM, "runs", "list"), (*CHARLM, "--help")),
}
# Python keeps the compiled modules, as it does for an installed package.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: tuple[str, ...], folder: str) -> float:
    """The wall time of a command, which must succeed."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        seconds((*CHARLM, "train", "--minutes", "0.1", "--device", "cpu"), folder)
        measured = [
            [tuple(seconds(command, folder) for command in pair) for pair in PAIRS.values()]
            for _ in range(rounds + 1)
        ][1:]  # the first round is for warming up
    print(f"torch {version('torch')}, {os.cpu_count()} processors; medians of {rounds} rounds\n")
    print("| pair | seconds | ratio | least to greatest |")
    print("| --- | --- | --- | --- |")
    for name, times in zip(PAIRS, zip(*measured, strict=True), strict=True):
        ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        ratios = [mine / other for mine, other in times]
        print(
            f"| {name} | {ours:.2f} / {theirs:.2f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
