"""Train every preset that has a published figure, and write both side by side.

    python benchmarks/reproduction.py            trains what is missing, writes docs/reproduction.md
    python benchmarks/reproduction.py --table    writes the table from the runs that are there

Runs lie in checkpoints/reproduction/<device>/<preset>-seed<N>; delete one to train it again.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from charlm.config import preset, preset_names
from charlm.corpus import catalogue

RUNS = Path("checkpoints/reproduction")
PAGE = Path("docs/reproduction.md")
SEEDS = (0, 1, 2)
SWING = 100  # epochs


def train(name: str, seed: int, device: str) -> None:
    """Train a preset with a seed, unless that was done."""
    folder = RUNS / device / f"{name}-seed{seed}"
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "-m", "charlm", "train", "--preset", name, "--seed", str(seed)]
    command += ["--device", device, "--run", str(folder), "--quiet"]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True)


def read(name: str, device: str) -> list[dict[str, Any]]:
    """The summaries of a preset's runs, by seed; only those that came to their end."""
    folders = [RUNS / device / f"{name}-seed{seed}" for seed in SEEDS]
    paths = [folder / "summary.json" for folder in folders]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def row(name: str, device: str) -> str:
    """A line of the table."""
    published = preset("language-model", name)["published"]
    runs = read(name, device)
    measured = [run["train_perplexity"] for run in runs]
    cells = [f"`{name}`", published["source"]]
    cells.append(str(published.get("value", "not given")))
    bound = published.get("at_most")
    cells.append("" if bound is None else str(bound))
    by_seed = {run["seed"]: f"{run['train_perplexity']:.3f}" for run in runs}
    cells += [by_seed.get(seed, "not yet") for seed in SEEDS]
    if measured:
        cells.append(f"{statistics.median(measured):.3f}")
        cells.append(f"{min(measured):.3f} to {max(measured):.3f}")
        cells.append(f"{statistics.median(run['seconds'] for run in runs):.0f}")
    else:
        cells += ["not yet"] * 3
    if bound is None or not measured:
        cells.append("")
    else:
        cells.append(f"{sum(value <= bound for value in measured)} of {len(measured)}")
    return "| " + " | ".join(cells) + " |"


def misses(name: str, device: str) -> list[str]:
    """A line for each seed that misses its bound: how far its last epochs swing."""
    bound = preset("language-model", name)["published"].get("at_most", float("inf"))
    lines = []
    for run in read(name, device):
        if run["train_perplexity"] > bound:
            folder = RUNS / device / f"{name}-seed{run['seed']}"
            rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-SWING:]
            last = [json.loads(row)["train_perplexity"] for row in rows]
            lines.append(
                f"`{name}`, seed {run['seed']}, misses its bound: {run['train_perplexity']:.3f}. "
                f"The perplexity of an epoch swings: over its last {SWING} between "
                f"{min(last):.3f} and {max(last):.3f}, with a median of "
                f"{statistics.median(last):.3f}; the published figure is one such draw."
            )
    return lines


def sample(name: str, device: str) -> str:
    """What a preset's first run makes of its prefixes; nothing where the text is not free."""
    runs = read(name, device)
    if catalogue()[preset("language-model", name)["corpus"]["source"]].licence.startswith(
        "third-party"
    ):
        return ""
    texts = [f"    {sample['text']}" for run in runs[:1] for sample in run["samples"]]
    return "\n".join([f"`{name}`, seed {runs[0]['seed']}:\n", *texts, ""]) if runs else ""


def page(device: str) -> str:
    """The whole page."""
    import torch

    header = (
        "| preset | source | published | at most | "
        + " | ".join(f"seed {seed}" for seed in SEEDS)
        + " | median | spread | seconds | within |"
    )
    names = preset_names("language-model")
    quantity = "train perplexity of the last epoch"
    return "\n".join(
        [
            "# Published tables, measured again",
            "",
            f"Written by `python benchmarks/reproduction.py` on {time.strftime('%Y-%m-%d')}: "
            f"{quantity}, {device}, torch {torch.__version__}, Python "
            f"{platform.python_version()}, {platform.machine()}. "
            "Perplexity is exp of the mean cross-entropy in nats per character over the epoch's "
            "batches. The bound (at most) is the published figure with room for its rounding. "
            "Seconds are wall time on one thread of a shared machine.",
            "",
            *(["On a CUDA card: not yet.", ""] if not (RUNS / "cuda").exists() else []),
            header,
            "|" + " --- |" * (header.count("|") - 1),
            *(row(name, device) for name in names),
            "",
            *(
                line
                for name in names
                for line in [*misses(name, device), ""]
                if misses(name, device)
            ),
            "## What they write",
            "",
            "The greedy continuations at the end of training, as the book prints them; only of "
            "texts that are free.",
            "",
            *filter(None, (sample(name, device) for name in names)),
        ]
    )


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="train nothing, write the page")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", action="append", choices=preset_names("language-model"))
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in SEEDS:
            for name in arguments.preset or preset_names("language-model"):
                train(name, seed, arguments.device)
    PAGE.write_text(page(arguments.device).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
