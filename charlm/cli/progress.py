"""The display of a running training."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from charlm.cli.output import Output, clock, printable
from charlm.task import Task

if TYPE_CHECKING:
    from charlm.training import Measured, Sampled, Stepped

_REFRESH = 0.2  # seconds between two drawings of the bar
_ROOM = 68  # characters beside the bar on a line of 80


class ProgressBar:
    """A tqdm bar on a terminal; if stderr is a file or a pipe, only the lines above the bar.

    While the bar is open, the messages of ``output`` are printed above it.
    """

    def __init__(self, output: Output, task: Task) -> None:
        self._output, self._task = output, task
        self._bar: Any = None
        self._drawn = 0.0
        self._valid: float | None = None
        self.best: float | None = None
        """The best validation metric so far."""
        self._speed: tuple[float, int] = (0.0, 0)  # seconds and items at the last drawing
        self._line = self._shown_line = ""

    def __enter__(self) -> ProgressBar:
        if not self._output.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, bar_format="{percentage:3.0f}%|{bar:5}| {desc}", file=sys.stderr
            )
            self._show, self._output.show = self._output.show, self._write
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._output.show = self._show
            self._bar.close()

    def _write(self, line: str) -> None:
        with suppress(OSError):  # the terminal is gone; training continues
            self._bar.write(line, file=sys.stderr)

    def update(self, event: Stepped) -> None:
        """Draw the bar again, unless it was drawn a moment ago."""
        now = time.monotonic()
        if self._bar is None or (now - self._drawn < _REFRESH and event.progress < 1):
            return
        seconds, items = self._speed
        rate = (event.items - items) / max(event.seconds - seconds, 1e-9)
        left = event.seconds / event.progress * (1 - event.progress)
        unit = self._task.short_unit or self._task.unit
        words = f"epoch {event.epoch}: {self._words(event.metric, short=True)}, {clock(left)} left"
        speed = f", {rate:,.0f} {unit}/s"
        self._bar.n = event.progress
        self._bar.set_description_str(words + speed if len(words + speed) <= _ROOM else words)
        self._drawn, self._speed = now, (event.seconds, event.items)

    def _words(self, train: float, *, short: bool = False) -> str:
        """The training metric, the last validation metric, and the best one if it is another."""
        first, second = self._task.train_metric, self._task.valid_metric
        titles = first.title("train"), second.title("valid")
        if short:
            same = first == second
            titles = ("train", "valid") if same else (first.label or first.name, titles[1])
        words = f"{titles[0]} {first.text(train)}"
        if self._valid is not None:
            words += f", {titles[1]} {second.text(self._valid)}"
        if self.best is not None and self.best != self._valid:
            words += f", best {second.text(self.best)}"
        return words

    def measured(self, event: Measured) -> None:
        """Remember the metrics, and show them unless samples will follow."""
        self._valid = event.valid
        better = self._task.valid_metric.is_better
        if event.valid is not None and (self.best is None or better(event.valid, self.best)):
            self.best = event.valid
        self._line = f"{clock(event.seconds)}  epoch {event.epoch:.4g}: {self._words(event.train)}"
        if not self._task.has_samples:
            self._output.note(self._line)

    def sampled(self, event: Sampled) -> None:
        """Show a sample, with the metrics above the first sample of a set."""
        if self._line != self._shown_line:
            self._output.note(self._line)
            self._shown_line = self._line
        for line in printable(event.text).splitlines() or [""]:
            self._output.note(f"    {line}")
