"""Train the presets with published results, and write docs/reproduction.md.

    python -m benchmarks tables reproduction [--imdb aclImdb.tar.gz] [--table]

It trains the missing runs, then writes the page. With --imdb it reads the reviews from a file, and
with --table it writes the page from the existing runs.

Runs are in checkpoints/reproduction/<device>/<preset>-seed<N>; delete one to train it again.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import CHARLM, run
from charlm.corpus import catalogue
from charlm.task import Metric, Task, preset, preset_names
from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL, TAGGING

RUNS = Path("checkpoints/reproduction")
PAGE = Path("docs/reproduction.md")
SEEDS = (0, 1, 2)
LAST_EPOCHS = 100
NOT_ON_CUDA = "The presets have not been run on a CUDA card yet."


@dataclass(frozen=True)
class Table:
    """A task and the metric that its presets are compared by."""

    task: Task
    split: str
    title: str
    quantity: str

    @property
    def metric(self) -> Metric:
        """The metric of the task."""
        return self.task.valid_metric

    @property
    def key(self) -> str:
        """The key of the metric in a summary."""
        return self.metric.key(self.split)

    @property
    def digits(self) -> int:
        """The digits of a published value after the point."""
        return 2 if self.metric.percent else 3

    @property
    def bound(self) -> str:
        """The key of the bound in a preset."""
        return "at_least" if self.metric.higher_is_better else "at_most"

    def within(self, value: float, bound: float) -> bool:
        """Whether a measured value meets its bound; the printed digits are compared."""
        value = round(value, self.digits)
        return value == bound or self.metric.is_better(value, bound)


TABLES = (
    Table(
        LANGUAGE_MODEL,
        "train",
        title="Language models",
        quantity="Train perplexity of the last epoch: exp of the mean cross-entropy in nats per "
        "character over its batches. The bound allows for the rounding of the published value.",
    ),
    Table(
        CLASSIFICATION,
        "test",
        title="Reviews: positive or negative",
        quantity="Accuracy on the 25,000 test reviews of IMDB, in percent. The weights are those "
        "with the best accuracy on the validation part of the train reviews.",
    ),
    Table(
        TAGGING,
        "test",
        title="Slots of questions about flights",
        quantity="F1 of the spans in the 893 test sentences of ATIS, in percent, as `conlleval` "
        "computes it. The weights are those with the best F1 on the 500 validation sentences.",
    ),
)


def train(table: Table, name: str, seed: int, device: str, imdb: str | None) -> None:
    """Train a preset with a seed, unless the run exists."""
    folder = RUNS / device / f"{name}-seed{seed}"
    if (folder / "summary.json").exists():
        return
    command = [*table.task.command.split()[1:], "train", "--preset", name]
    command += ["--seed", str(seed), "--device", device, "--run", str(folder), "--quiet"]
    if table.task is CLASSIFICATION and imdb:
        command += ["--data", imdb]
    print("charlm", *command, file=sys.stderr, flush=True)
    run([*CHARLM, *command], Path.cwd(), OMP_NUM_THREADS="1")


def read(name: str, device: str) -> list[dict[str, Any]]:
    """The summaries of a preset's finished runs, in the order of their seeds."""
    folders = [RUNS / device / f"{name}-seed{seed}" for seed in SEEDS]
    paths = [folder / "summary.json" for folder in folders]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def row(table: Table, name: str, device: str) -> str:
    """One row of the table."""
    published = preset(table.task.name, name)["published"]
    runs = read(name, device)
    measured = [run[table.key] for run in runs]
    by_seed = {run["seed"]: f"{run[table.key]:.{table.digits}f}" for run in runs}
    cells = [f"`{name}`", published["source"], str(published.get("value", "not given"))]
    bound = published.get(table.bound)
    cells.append("" if bound is None else str(bound))
    cells += [by_seed.get(seed, "not yet") for seed in SEEDS]
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


def published_names(task: str) -> list[str]:
    """The presets of a task that repeat a published experiment."""
    return [name for name in preset_names(task) if "published" in preset(task, name)]


def misses(name: str, device: str) -> list[str]:
    """A sentence for each seed that misses its bound, with the range of its last epochs."""
    bound = preset("language-model", name)["published"].get("at_most", float("inf"))
    lines = []
    for each in read(name, device):
        if each["train_perplexity"] > bound:
            folder = RUNS / device / f"{name}-seed{each['seed']}"
            newest = sorted(folder.glob("**/metrics.jsonl"))[-1]
            rows = newest.read_text(encoding="utf-8").splitlines()[-LAST_EPOCHS:]
            last = [json.loads(row)["train_perplexity"] for row in rows]
            lines.append(
                f"`{name}`, seed {each['seed']}, misses its bound with "
                f"{each['train_perplexity']:.3f}. Its perplexity varies from epoch to epoch: over "
                f"the last {LAST_EPOCHS} epochs it is between {min(last):.3f} and {max(last):.3f}, "
                f"with a median of {statistics.median(last):.3f}. The published value is also "
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
    names = published_names(table.task.name)
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


def on_cuda() -> list[str]:
    """The tables of the runs on a CUDA card, if there are any."""
    if not (RUNS / "cuda").exists():
        return [NOT_ON_CUDA, ""]
    tables = [section(table, "cuda") for table in TABLES]
    return ["# On a CUDA card", "", *(line for table in tables for line in table)]


def page(device: str) -> str:
    """The whole page."""
    import torch

    names = published_names("language-model")
    return "\n".join(
        [
            "# Reproduction of published results",
            "",
            "Written by `python -m benchmarks tables reproduction` on "
            f"{time.strftime('%Y-%m-%d')}: {device}, torch {torch.__version__}, "
            f"Python {platform.python_version()}, {platform.machine()}. Seconds are "
            "the wall time of training, with one thread on a "
            'shared machine. "within" counts the seeds that meet the bound.',
            "",
            *(line for table in TABLES for line in section(table, device)),
            *on_cuda(),
            *(f"{line}\n" for name in names for line in misses(name, device)),
            "## Texts of the language models",
            "",
            "Greedy continuations at the end of training, as in the book. Texts under a "
            "third-party licence are left out.",
            "",
            *filter(None, (sample(name, device) for name in names)),
        ]
    )


def main(arguments: list[str]) -> None:
    """Parse the command line, train, write."""
    presets = {name: table for table in TABLES for name in published_names(table.task.name)}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables reproduction", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--table", action="store_true", help="write the page without training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--imdb", metavar="FILE", help="a local file with the reviews")
    parser.add_argument("--preset", action="append", choices=[*presets])
    parser.add_argument("--jobs", type=int, default=1, help="trainings that run side by side")
    options = parser.parse_args(arguments)
    if not options.table:
        chosen = [(name, seed) for seed in SEEDS for name in options.preset or presets]
        with ThreadPoolExecutor(options.jobs) as pool:
            for name, seed in chosen:
                where = (options.device, options.imdb)
                pool.submit(train, presets[name], name, seed, *where)
    PAGE.write_text(page(options.device).rstrip() + "\n", encoding="utf-8")
    print(PAGE)
