"""What the plan reaches in 1, 3, 10 and 30 minutes: README's picture and docs/plan.md's table.

    python -m benchmarks tables budgets --folder RUNS

The text is Tiny Shakespeare, which $CHARLM_CORPORA must have. Runs that RUNS already has are not
trained again, and the table has all of them, so the measurement can be made in parts, on a quiet
machine: --minutes 10 --seeds 1 trains one run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import charlm
from benchmarks.harness import Options
from benchmarks.results import describe, surroundings, table, write_between
from charlm.strict_json import dumps

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "plan.md", DOCS / "pictures" / "budgets.png"
BEGIN, END = "<!-- the table: python -m benchmarks tables budgets -->", "<!-- end of the table -->"
MINUTES = (1, 3, 10, 30)
SEEDS = 3
HEADER = [
    *("minutes", "units", "layers", "epochs", "nats/char, carried", "in windows of 256"),
    *("bits/char, carried", "seeds"),
]
NANOGPT = {  # nats per character in windows of 256 after three minutes, from nanoGPT's README
    "nanoGPT, 10.65M parameters, on an A100": 1.4697,
    "nanoGPT, 0.8M parameters, on a CPU": 1.88,
}
PUBLISHED_MINUTES = 3.0


def trained(folder: Path, minutes: int, seed: int) -> dict[str, Any]:
    """A run with its scores on the whole validation split, made if it is not there."""
    name = f"{minutes}-minutes-{seed}"
    path = folder / name / "scores.json"
    if not path.is_file():
        words = f"train --corpus tinyshakespeare --minutes {minutes} --seed {seed} --run ./{name}"
        summary = charlm(folder, *words.split())
        evaluate = ["eval", "--run", f"./{name}", "--split", "valid", "--whole"]
        scores = {
            protocol: charlm(folder, *evaluate, "--protocol", protocol)["nats_per_char"]
            for protocol in ("carried", "nanogpt")
        }
        import torch

        where = surroundings(
            Options(folder=folder, device=torch.device("cpu"), threads=torch.get_num_threads())
        )
        path.write_text(dumps({**scores, "epochs": summary["epochs"], "where": where}))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config = json.loads((folder / name / "run.json").read_text(encoding="utf-8"))["config"]
    newest = max((folder / name).glob("checkpoint-*")) / "metrics.jsonl"
    metrics = [json.loads(line) for line in newest.read_text(encoding="utf-8").splitlines()]
    print(f"{name}: {found['carried']:.4f}", file=sys.stderr, flush=True)
    return {**found, "model": config["model"], "metrics": metrics}


def row(minutes: int, runs: Sequence[dict[str, Any]]) -> list[str]:
    """The medians of a budget over its seeds."""
    middle = {
        key: statistics.median(run[key] for run in runs) for key in ("carried", "nanogpt", "epochs")
    }
    seeds = [f"{run['carried']:.3f}" for run in runs]
    return [
        str(minutes),
        str(runs[0]["model"]["hidden_size"]),
        str(runs[0]["model"]["num_layers"]),
        f"{middle['epochs']:.1f}",
        f"**{middle['carried']:.3f}**",
        f"{middle['nanogpt']:.3f}",
        f"{middle['carried'] / math.log(2):.3f}",
        ", ".join(seeds),
    ]


def section(runs: dict[int, list[dict[str, Any]]]) -> Iterator[str]:
    """The table, and where it was measured."""
    yield "    charlm train --corpus tinyshakespeare --minutes M --seed N"
    yield "    charlm eval --split valid --whole [--protocol nanogpt]"
    yield ""
    yield from table(HEADER, (row(minutes, some) for minutes, some in runs.items()))
    yield ""
    yield describe(next(iter(runs.values()))[0]["where"])


def draw(runs: dict[int, list[dict[str, Any]]]) -> None:
    """The picture: bits per character of the first seed over wall time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for minutes, some in runs.items():
        rows = [each for each in some[0]["metrics"] if each["valid_perplexity"]]
        times = [each["seconds"] / 60 for each in rows]
        bits = [math.log2(each["valid_perplexity"]) for each in rows]
        (line,) = axes.plot(times, bits, linewidth=2, label=f"charlm train --minutes {minutes}")
        windows = some[0]["nanogpt"] / math.log(2)
        axes.plot([times[-1]], [windows], "o", color=line.get_color(), markersize=6)
    axes.plot([], [], "o", color="grey", label="its score in windows of 256 characters")
    for (name, nats), marker in zip(NANOGPT.items(), ("*", "P"), strict=True):
        published = [nats / math.log(2)]
        axes.plot([PUBLISHED_MINUTES], published, f"k{marker}", markersize=11, label=name)
    axes.set_xscale("log")
    axes.set_xticks([0.3, 1, 3, 10, 30], labels=["0.3", "1", "3", "10", "30"])
    axes.minorticks_off()
    axes.set_ylim(top=3.0)
    axes.set_xlabel("minutes")
    axes.set_ylabel("bits per character, validation text")
    axes.set_title("Tiny Shakespeare on two cores", loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=160, metadata={"Software": None})


def main(arguments: list[str]) -> None:
    """Train, write and draw."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables budgets", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are made")
    parser.add_argument("--minutes", type=int, nargs="*", default=MINUTES)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each budget, from 0 on")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for minutes in options.minutes:
        for seed in range(options.seeds):
            trained(options.folder, minutes, seed)
    runs: dict[int, list[dict[str, Any]]] = {}
    for minutes in MINUTES:
        done = (options.folder / f"{minutes}-minutes-{seed}" for seed in range(SEEDS))
        seeds = [seed for seed, run in enumerate(done) if (run / "scores.json").is_file()]
        if seeds:
            runs[minutes] = [trained(options.folder, minutes, seed) for seed in seeds]
    write_between(PAGE, BEGIN, END, "\n".join(section(runs)))
    draw(runs)
    print(PAGE, PICTURE)
