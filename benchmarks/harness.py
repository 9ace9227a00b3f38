"""Rows and rounds: contenders take turns in one process, and a row is their medians and ratios."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FLOOR = "floor"  # the contender that only does what cannot be left out
WARM_UP = 2  # rounds that are not counted
LONG = 3  # a row with so few rounds has long ones

Contender = Callable[[], float]  # works once, and returns what was measured, in the row's unit


class NotHereError(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a row has to know about a call of the benchmarks."""

    folder: Path  # a temporary folder; rows share the texts in it
    device: torch.device
    threads: int
    quick: bool = False  # small sizes: shows that a row works, not how fast
    full: bool = False  # with a text of 1 GB

    def size(self, usual: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else usual


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. The first contender is charlm; the others are its peers and the floor."""

    name: str
    about: str
    unit: str
    prepare: Callable[[Options, Path], dict[str, Contender]]
    wanted: str = ""  # what issue 11 asks for
    rounds: int = 15


def speed(work: Callable[[], float], device: torch.device) -> Contender:
    """A contender that measures units of work per second; ``work`` returns the units it did."""

    def contender() -> float:
        started = time.perf_counter()
        units = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return units / (time.perf_counter() - started)

    return contender


def measure(row: Row, options: Options, rounds: int | None = None) -> dict[str, Any]:
    """Prepare a row, let its contenders take turns, and return its result, as in the JSON file.

    The contenders of a round run one after the other, so what disturbs the machine for a while
    disturbs them all. Python's garbage collector runs between them.
    """
    folder = options.folder / row.name.replace("/", "-")
    folder.mkdir()
    contenders = row.prepare(options, folder)
    long = row.rounds <= LONG  # rounds that need no warming up
    if rounds is None:
        rounds = min(row.rounds, 1 if long else 2) if options.quick else row.rounds
    warm_up = 0 if long or options.quick else WARM_UP
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + rounds):
        for name, contender in contenders.items():
            gc.collect()
            gc.disable()
            try:
                value = contender()
            finally:
                gc.enable()
            if number >= warm_up:
                values[name].append(value)
    return summarise(row, values)


def summarise(row: Row, values: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, quartiles and ratios. A ratio is taken in each round, and then its median."""
    subject, *others = values
    ratios = {
        name: [ours / theirs for ours, theirs in zip(values[subject], values[name], strict=True)]
        for name in others
    }
    return {
        "name": row.name,
        "about": row.about,
        "unit": row.unit,
        "wanted": row.wanted,
        "rounds": len(values[subject]),
        "subject": subject,
        "measured": {name: spread(each) | {"values": each} for name, each in values.items()},
        "ratios": {name: spread(each) for name, each in ratios.items() if name != FLOOR},
        "share_of_floor": spread(ratios[FLOOR]) if FLOOR in ratios else None,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, and the quartiles, between which the middle half of the values lies."""
    if len(values) == 1:
        low = middle = high = values[0]
    else:
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}
