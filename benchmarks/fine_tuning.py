"""Compare fine-tuning with training from random weights, and write docs/fine-tuning.md's table.

    python benchmarks/fine_tuning.py --folder RUNS

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
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "fine-tuning.md"
BEGIN, END = "<!-- the table: benchmarks/fine_tuning.py -->", "<!-- end of the table -->"
SEEDS = (0, 1, 2)
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


def charlm(folder: Path, words: str) -> dict[str, Any]:
    """The JSON of a command that is run in a folder."""
    command = [sys.executable, "-m", "charlm", *words.split(), "--json", "--quiet"]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def trained(folder: Path, name: str) -> dict[str, Any]:
    """The summary of a run, which is trained if it is not complete."""
    path = folder / name / "summary.json"
    if path.is_file():
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not summary["interrupted"]:
            return summary
    begun = (folder / name / "run.json").is_file()
    options = "--resume" if begun else TRAININGS[name]
    return charlm(folder, f"train {options} --run ./{name}")


def row(folder: Path, name: str) -> str:
    """One row of the table, over all seeds."""
    found = [trained(folder, f"{name}-{seed}") for seed in SEEDS]
    tests = [
        charlm(folder, f"eval --run ./{name}-{seed} --split test")["perplexity"] for seed in SEEDS
    ]
    starts = [each.get("start_valid_perplexity") for each in found]
    cells = [
        WAYS[name][0],
        "-" if None in starts else f"{statistics.mean(starts):.2f}",
        " ".join(f"{each['valid_perplexity']:.3f}" for each in found),
        " ".join(f"{each:.3f}" for each in tests),
        f"**{statistics.mean(tests):.3f}**",
        f"{statistics.mean(each['seconds'] for each in found):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table(folder: Path) -> str:
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
            "| starts with | valid, before | valid, after 40 epochs | test, each seed "
            "| test, mean | seconds |",
            "|" + " --- |" * 6,
            *(row(folder, name) for name in WAYS),
            "",
            f"Measured on {time.strftime('%Y-%m-%d')}: torch {torch.__version__}, "
            f"{platform.machine()}, one thread, CPU, {os.cpu_count()} cores of a shared machine.",
        ]
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the runs are made")
    parser.add_argument("--train", choices=TRAININGS, help="train only this run")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.train:
        print(trained(arguments.folder, arguments.train)["valid_perplexity"])
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{table(arguments.folder)}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
