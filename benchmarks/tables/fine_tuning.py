"""Compare fine-tuning with training from random weights, and write docs/fine-tuning.md's table.

    python -m benchmarks tables fine-tuning --folder RUNS

The large text is Tiny Shakespeare, which $CHARLM_CORPORA must have; the small one is the bundled
short story. Runs that RUNS already has are not trained again, and interrupted ones are resumed, so
the measurement can be made in parts: --train NAME trains one run and stops.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import charlm
from benchmarks.results import table, write_between

PAGE = Path(__file__).parents[2] / "docs" / "fine-tuning.md"
BEGIN, END = (
    "<!-- the table: python -m benchmarks tables fine-tuning -->",
    "<!-- end of the table -->",
)
SEEDS = (0, 1, 2)
HEADER = [
    *("starts with", "valid, before", "valid, after 40 epochs", "test, each seed", "test, mean"),
    "seconds",
]
SOURCE = "shakespeare"
WAYS = {
    "random": ("random weights", ""),
    "shakespeare": ("the large text's model", f"--from-run ./{SOURCE}"),
    "frozen": ("the large text's model, layers frozen", f"--from-run ./{SOURCE} --frozen"),
}
SMALL = "--corpus traveller --epochs 40"
TRAININGS = {SOURCE: "--corpus tinyshakespeare --minutes 3.5"} | {
    f"{name}-{seed}": f"{SMALL} --seed {seed} {options}".rstrip()
    for name, (_, options) in WAYS.items()
    for seed in SEEDS
}


def trained(folder: Path, name: str) -> dict[str, Any]:
    """The summary of a run, which is trained if it is not complete."""
    path = folder / name / "summary.json"
    if path.is_file():
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not summary["interrupted"]:
            return summary
    begun = (folder / name / "run.json").is_file()
    options = "--resume" if begun else TRAININGS[name]
    words = f"train {options} --run ./{name}".split()
    result: dict[str, Any] = charlm(folder, *words)
    return result


def row(folder: Path, name: str) -> list[str]:
    """One row of the table, over all seeds."""
    found = [trained(folder, f"{name}-{seed}") for seed in SEEDS]
    tests = [
        charlm(folder, "eval", "--run", f"./{name}-{seed}", "--split", "test")["perplexity"]
        for seed in SEEDS
    ]
    starts: list[Any] = [each.get("start_valid_perplexity") for each in found]
    return [
        WAYS[name][0],
        "-" if None in starts else f"{statistics.mean(starts):.2f}",
        " ".join(f"{each['valid_perplexity']:.3f}" for each in found),
        " ".join(f"{each:.3f}" for each in tests),
        f"**{statistics.mean(tests):.3f}**",
        f"{statistics.mean(each['seconds'] for each in found):.0f}",
    ]


def section(folder: Path) -> str:
    """The commands, the table, and where it was measured."""
    import torch

    source = trained(folder, SOURCE)
    commands = [f"charlm train {TRAININGS[SOURCE]} --run ./{SOURCE}"]
    commands += [f"charlm train {SMALL} {options}".rstrip() for _, options in WAYS.values()]
    return "\n".join(
        [
            *(f"    {command}" for command in commands),
            "",
            f"Each of the last {len(WAYS)} with `--seed 0`, `1` and `2`, and `charlm eval --split "
            "test` after it. Other settings are the defaults. The model of the large text was "
            f"trained for {source['epochs']:.1f} epochs, to a validation perplexity of "
            f"{source['valid_perplexity']:.2f} on that text.",
            "",
            *table(HEADER, (row(folder, name) for name in WAYS)),
            "",
            f"Measured on {time.strftime('%Y-%m-%d')}: torch {torch.__version__}, "
            f"{platform.machine()}, one thread, CPU, {os.cpu_count()} cores of a shared machine.",
        ]
    )


def main(arguments: list[str]) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables fine-tuning", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are made")
    parser.add_argument("--train", choices=TRAININGS, help="train only this run")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.train:
        print(trained(options.folder, options.train)["valid_perplexity"])
        return
    write_between(PAGE, BEGIN, END, section(options.folder))
    print(PAGE)
