"""The tables of results in docs/: trainings with what they reached.

python -m benchmarks tables NAME [--help]
"""

from __future__ import annotations

import argparse

from benchmarks.tables import (
    budgets,
    cells,
    cuda,
    decoding,
    defaults,
    fine_tuning,
    lines,
    processes,
    quality,
    reproduction,
    step,
    vocabulary,
)

TABLES = {
    "reproduction": reproduction,
    "defaults": defaults,
    "decoding": decoding,
    "fine-tuning": fine_tuning,
    "lines": lines,
    "vocabulary": vocabulary,
    "step": step,
    "cuda": cuda,
    "cells": cells,
    "quality": quality,
    "budgets": budgets,
    "processes": processes,
}


def main(arguments: list[str]) -> int:
    """Make one of the tables; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables",
        description="Make a table of docs/. Each has its own --help.",
    )
    first_lines = {name: (table.__doc__ or "").splitlines()[0] for name, table in TABLES.items()}
    parser.add_argument(
        "name",
        choices=TABLES,
        help="; ".join(f"{name}: {line}" for name, line in first_lines.items()),
    )
    name = parser.parse_args(arguments[:1]).name
    TABLES[name].main(arguments[1:])
    return 0
