"""Check and measure charlm on a CUDA card, and write benchmarks/results/cuda.md.

    python -m benchmarks tables cuda    runs everything: a few minutes

The page says which device and versions it was measured with. It needs the development extra.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path("benchmarks/results/cuda.md")
ROWS = ("training/scratch", "training/best", "generation/")
TRAINING = ("--corpus", "traveller", "--epochs", "6", "--device", "cuda", "--quiet")


def run(*command: str, **environment: str) -> str:
    """The output of a Python command, with what it wrote to standard error behind it."""
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.stdout + done.stderr


def tests() -> str:
    """The last line of the tests that need a card."""
    lines = run("-m", "pytest", "-q", "-n", "8", "-m", "cuda", "-p", "no:cacheprovider")
    failed = [line for line in lines.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "\n".join([*failed, lines.strip().splitlines()[-1]])


def train(folder: Path, *options: str) -> tuple[float, str]:
    """Characters per second of a training of default size, and a hash of its last weights."""
    output = run("-m", "charlm", "train", *TRAINING, *options, "--run", str(folder), "--json")
    speed = re.search(r'"characters_per_second": (\d+)', output)
    assert speed is not None, output
    weights = max(folder.glob("checkpoint-*")) / "last.safetensors"
    return float(speed[1]), hashlib.sha256(weights.read_bytes()).hexdigest()


def deterministic(pairs: int) -> list[str]:
    """What ``--deterministic`` costs, and whether it gives the same weights twice."""
    speeds: dict[str, list[float]] = {"plain": [], "deterministic": []}
    hashes: dict[str, set[str]] = {"plain": set(), "deterministic": set()}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(pairs + 1):
            for kind in speeds:
                options = ("--deterministic",) if kind == "deterministic" else ()
                speed, digest = train(Path(folder) / f"{kind}{number}", *options)
                hashes[kind].add(digest)
                if number:  # the first pair warms up
                    speeds[kind].append(speed)
    ratios = [
        slow / fast for slow, fast in zip(speeds["deterministic"], speeds["plain"], strict=True)
    ]
    return [
        "| | characters/s, median | different last weights |",
        "| --- | --- | --- |",
        *(
            f"| {kind} | {statistics.median(values):,.0f} | {len(hashes[kind])} of {pairs + 1} |"
            for kind, values in speeds.items()
        ),
        "",
        f"`--deterministic` has {statistics.median(ratios):.2f} of the speed "
        f"({min(ratios):.2f} to {max(ratios):.2f}, {pairs} pairs of trainings).",
    ]


def main(arguments: list[str]) -> None:
    """Run all parts and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables cuda", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    import torch

    lines = [
        "# On a CUDA card",
        "",
        f"Written by `python -m benchmarks tables cuda` on {time.strftime('%Y-%m-%d')}: "
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"Python {platform.python_version()}, {platform.machine()}.",
        "",
        "## Tests",
        "",
        "`pytest -m cuda`: the layers agree with the CPU, training works, and with "
        "`--deterministic` a stopped training resumes bit for bit.",
        "",
        f"    {tests()}",
        "",
        "## `--deterministic`",
        "",
        f"`charlm train {' '.join(TRAINING)}`, with and without `--deterministic`:",
        "",
        *deterministic(options.pairs),
        "",
        "## Speed beside the book's own code",
        "",
        f"`python -m benchmarks {' '.join(ROWS)} --device cuda`:",
        "",
        run("-m", "benchmarks", *ROWS, "--device", "cuda").strip(),
    ]
    options.page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(options.page.read_text(encoding="utf-8"))
