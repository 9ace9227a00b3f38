"""Train the presets with published figures, and write docs/reproduction.md.

    python benchmarks/reproduction.py            trains the missing runs, then writes the page
    python benchmarks/reproduction.py --table    writes the page from the existing runs
    python benchmarks/reproduction.py --imdb aclImdb.tar.gz    reads the reviews from a file

Runs are in checkpoints/reproduction/<device>/<preset>-seed<N>; delete one to train it again.
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
LAST_EPOCHS = 100
NOT_ON_CUDA = "The presets have not been run on a CUDA card yet."


@dataclass(frozen=True)
class Table:
    """A task and the metric that its presets are compared by."""

    task: str
    command: tuple[str, ...]
    figure: str
    title: str
    quantity: str
    higher_is_better: bool
    digits: int

    @property
    def bound(self) -> str:
        """The key of the bound in a preset."""
        return "at_least" if self.higher_is_better else "at_most"

    def within(self, value: float, bound: float) -> bool:
        """Whether a measured figure meets its bound."""
        # Compare the printed digits: the bounds have no more.
        value = round(value, self.digits)
        return value >= bound if self.higher_is_better else value <= bound


TABLES = (
    Table(
        "language-model",
        ("train",),
        "train_perplexity",
        title="Language models",
        quantity="Train perplexity of the last epoch: exp of the mean cross-entropy in nats per "
        "character over its batches. The bound allows for the rounding of the published figure.",
        higher_is_better=False,
        digits=3,
    ),
    Table(
        "classify",
        ("classify", "train"),
        "test_accuracy",
        title="Reviews: positive or negative",
        quantity="Accuracy on the 25,000 test reviews of IMDB, in percent. The weights are those "
        "with the best accuracy on the validation part of the train reviews.",
        higher_is_better=True,
        digits=2,
    ),
    Table(
        "tag",
        ("tag", "train"),
        "test_f1",
        title="Slots of questions about flights",
        quantity="F1 of the spans in the 893 test sentences of ATIS, in percent, as `conlleval` "
        "computes it. The weights are those with the best F1 on the 500 validation sentences.",
        higher_is_better=True,
        digits=2,
    ),
)


def train(table: Table, name: str, seed: int, device: str, imdb: str | None) -> None:
    """Train a preset with a seed, unless the run exists."""
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
    """The summaries of a preset's finished runs, in the order of their seeds."""
    folders = [RUNS / device / f"{name}-seed{seed}" for seed in SEEDS]
    paths = [folder / "summary.json" for folder in folders]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def row(table: Table, name: str, device: str) -> str:
    """One row of the table."""
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
    """A sentence for each seed that misses its bound, with the range of its last epochs."""
    bound = preset("language-model", name)["published"].get("at_most", float("inf"))
    lines = []
    for run in read(name, device):
        if run["train_perplexity"] > bound:
            folder = RUNS / device / f"{name}-seed{run['seed']}"
            newest = sorted(folder.glob("**/metrics.jsonl"))[-1]
            rows = newest.read_text(encoding="utf-8").splitlines()[-LAST_EPOCHS:]
            last = [json.loads(row)["train_perplexity"] for row in rows]
            lines.append(
                f"`{name}`, seed {run['seed']}, misses its bound with "
                f"{run['train_perplexity']:.3f}. Its perplexity varies from epoch to epoch: over "
                f"the last {LAST_EPOCHS} epochs it is between {min(last):.3f} and {max(last):.3f}, "
                f"with a median of {statistics.median(last):.3f}. The published figure is also "
                "that of a single epoch."
            )
    return lines


def sample(name: str, device: str) -> str:
    """The continuations of a preset's first run; empty for a corpus under a third-party licence."""
    runs = read(name, device)
    corpus = catalogue()[preset("language-model", name)["corpus"]["source"]]
    if corpus.licence.startswith("third-party"):
        return ""
    texts = [f"    {sample['text']}" for run in runs[:1] for sample in run["samples"]]
    return "\n".join([f"`{name}`, seed {runs[0]['seed']}:\n", *texts, ""]) if runs else ""


def section(table: Table, device: str) -> list[str]:
    """The table of a task."""
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
            "# Reproduction of published results",
            "",
            f"Written by `python benchmarks/reproduction.py` on {time.strftime('%Y-%m-%d')}: "
            f"{device}, torch {torch.__version__}, Python {platform.python_version()}, "
            f"{platform.machine()}. Seconds are the wall time of training, with one thread on a "
            'shared machine. "within" counts the seeds that meet the bound.',
            "",
            *([] if (RUNS / "cuda").exists() else [NOT_ON_CUDA, ""]),
            *(line for table in TABLES for line in section(table, device)),
            *(f"{line}\n" for name in names for line in misses(name, device)),
            "## Texts of the language models",
            "",
            "Greedy continuations at the end of training, as in the book. Texts under a "
            "third-party licence are left out.",
            "",
            *filter(None, (sample(name, device) for name in names)),
        ]
    )


def main() -> None:
    """Parse the command line, train, write."""
    presets = {name: table for table in TABLES for name in preset_names(table.task)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="write the page without training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--imdb", metavar="FILE", help="a local file with the reviews")
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
