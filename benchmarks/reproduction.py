"""Train every preset that has a published figure, and write both side by side.

    python benchmarks/reproduction.py            trains what is missing, writes docs/reproduction.md
    python benchmarks/reproduction.py --table    writes the tables from the runs that are there
    python benchmarks/reproduction.py --imdb aclImdb.tar.gz    takes the reviews from a file

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.config import preset, preset_names
from charlm.corpus import catalogue

RUNS = Path("checkpoints/reproduction")
PAGE = Path("docs/reproduction.md")
SEEDS = (0, 1, 2)
SWING = 100  # epochs


@dataclass(frozen=True)
class Table:
    """The presets of a task and what is measured of them."""

    task: str
    command: tuple[str, ...]
    figure: str
    title: str
    quantity: str
    higher_is_better: bool
    digits: int

    @property
    def bound(self) -> str:
        """What the published figure is to the measured one."""
        return "at_least" if self.higher_is_better else "at_most"

    def within(self, value: float, bound: float) -> bool:
        """Whether a measured figure is as good as it should be."""
        # As it is printed: a part of an example more or less is no difference.
        value = round(value, self.digits)
        return value >= bound if self.higher_is_better else value <= bound


TABLES = (
    Table(
        "language-model", ("train",), "train_perplexity", "Language models",
        "Train perplexity of the last epoch, exp of the mean cross-entropy in nats per character "
        "over its batches. The bound is the published figure with room for its rounding.",
        False, 3,
    ),
    Table(
        "classify", ("classify", "train"), "test_accuracy", "Reviews: positive or negative",
        "Accuracy on the 25,000 test reviews of IMDB, in percent, by the weights that were best "
        "on the validation part of the train reviews.",
        True, 2,
    ),
    Table(
        "tag", ("tag", "train"), "test_f1", "Slots of questions about flights",
        "F1 of the spans in the 893 test sentences of ATIS, in percent, as conlleval counts, by "
        "the weights that were best on the 500 validation sentences.",
        True, 2,
    ),
)  # fmt: skip


def train(table: Table, name: str, seed: int, device: str, imdb: str | None) -> None:
    """Train a preset with a seed, unless that was done."""
    folder = RUNS / device / f"{name}-seed{seed}"
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "-m", "charlm", *table.command, "--preset", name]
    command += ["--seed", str(seed), "--device", device, "--run", str(folder), "--quiet"]
    if table.task == "classify" and imdb:
        command += ["--data", imdb]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    subprocess.run(command, check=True)


def read(name: str, device: str) -> list[dict[str, Any]]:
    """The summaries of a preset's runs, by seed; only those that came to their end."""
    folders = [RUNS / device / f"{name}-seed{seed}" for seed in SEEDS]
    paths = [folder / "summary.json" for folder in folders]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def row(table: Table, name: str, device: str) -> str:
    """A line of the table."""
    published = preset(table.task, name)["published"]
    runs = read(name, device)
    measured = [run[table.figure] for run in runs]
    figures = {run["seed"]: f"{run[table.figure]:.{table.digits}f}" for run in runs}
    cells = [f"`{name}`", published["source"], str(published.get("value", "not given"))]
    bound = published.get(table.bound)
    cells.append("" if bound is None else str(bound))
    cells += [figures.get(seed, "not yet") for seed in SEEDS]
    if measured:
        low, middle, high = (
            f"{value:.{table.digits}f}"
            for value in (min(measured), statistics.median(measured), max(measured))
        )
        seconds = statistics.median(run["seconds"] for run in runs)
        cells += [middle, f"{low} to {high}", f"{seconds:.0f}"]
    else:
        cells += ["not yet"] * 3
    if bound is None or not measured:
        cells.append("")
    else:
        good = sum(table.within(value, bound) for value in measured)
        cells.append(f"{good} of {len(measured)}")
    return "| " + " | ".join(cells) + " |"


def misses(name: str, device: str) -> list[str]:
    """A line for each seed of a language model that misses its bound: how its last epochs swing."""
    bound = preset("language-model", name)["published"].get("at_most", float("inf"))
    lines = []
    for run in read(name, device):
        if run["train_perplexity"] > bound:
            folder = RUNS / device / f"{name}-seed{run['seed']}"
            newest = sorted(folder.glob("**/metrics.jsonl"))[-1]
            rows = newest.read_text(encoding="utf-8").splitlines()[-SWING:]
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


def section(table: Table, device: str) -> list[str]:
    """What a task's presets reach."""
    header = (
        f"| preset | source | published | {table.bound.replace('_', ' ')} | "
        + " | ".join(f"seed {seed}" for seed in SEEDS)
        + " | median | spread | seconds | within |"
    )
    names = preset_names(table.task)
    return [
        f"## {table.title}",
        "",
        table.quantity,
        "",
        header,
        "|" + " --- |" * (header.count("|") - 1),
        *(row(table, name, device) for name in names),
        "",
    ]


def page(device: str) -> str:
    """The whole page."""
    import torch

    names = preset_names("language-model")
    return "\n".join(
        [
            "# Published tables, measured again",
            "",
            f"Written by `python benchmarks/reproduction.py` on {time.strftime('%Y-%m-%d')}: "
            f"{device}, torch {torch.__version__}, Python {platform.python_version()}, "
            f"{platform.machine()}. Seconds are wall time of training, on one thread of a shared "
            "machine.",
            "",
            *(["On a CUDA card: not yet.", ""] if not (RUNS / "cuda").exists() else []),
            *(line for table in TABLES for line in section(table, device)),
            *(
                line
                for name in names
                for line in [*misses(name, device), ""]
                if misses(name, device)
            ),
            "## What the language models write",
            "",
            "The greedy continuations at the end of training, as the book prints them; only of "
            "texts that are free.",
            "",
            *filter(None, (sample(name, device) for name in names)),
        ]
    )


def main() -> None:
    """Parse the command line, train, write."""
    presets = {name: table for table in TABLES for name in preset_names(table.task)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="train nothing, write the page")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--imdb", metavar="FILE", help="the reviews, where they lie here already")
    parser.add_argument("--preset", action="append", choices=[*presets])
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in SEEDS:
            for name in arguments.preset or presets:
                train(presets[name], name, seed, arguments.device, arguments.imdb)
    PAGE.write_text(page(arguments.device).rstrip() + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
