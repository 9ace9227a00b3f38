"""Rows: the time of short commands, beside the parts that they cannot do without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.commands import CHARLM, IMPORT_TORCH, run, seconds
from benchmarks.harness import Contender, Options, Row

GENERATE = (*CHARLM, "generate", "--length", "300", "--exact-length", "--device", "cpu", "--quiet")
RUNS_LIST, HELP = (*CHARLM, "runs", "list"), (*CHARLM, "--help")


def row(name: str, about: str, wanted: str, ours: Sequence[str], other: Sequence[str]) -> Row:
    """Two commands in turn, where a model was trained with the defaults for some seconds."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        train = ("train", "--minutes", "0.02", "--device", "cpu", "--quiet")
        run([*CHARLM, *train], folder)
        beside = " ".join(other[2:])  # without "python -m" or "python -c"
        return {"charlm": partial(seconds, ours, folder), beside: partial(seconds, other, folder)}

    return Row(name=f"startup/{name}", about=about, unit="seconds", prepare=prepare, wanted=wanted)


ROWS = (
    row(
        "generate",
        "charlm generate, 300 characters of the default network; python -c 'import torch'",
        "at most 1.25 times",
        GENERATE,
        IMPORT_TORCH,
    ),
    row("runs", "charlm runs list; charlm --help", "at most 3 times", RUNS_LIST, HELP),
)
