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


class ProgressBar:
    """A tqdm bar on a terminal; if stderr is a file or a pipe, only the lines above the bar.

    While the bar is open, the messages of ``output`` are printed above it.
    """

    def __init__(self, output: Output, task: Task) -> None:
        self._output, self._task = output, task
        self._bar: Any = None
        self._drawn = 0.0
        self._valid: float | None = None
        self._speed: tuple[float, int] = (0.0, 0)  # seconds and items at the last drawing
        self._line = self._shown_line = ""

    def __enter__(self) -> ProgressBar:
        if not self._output.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, bar_format="{percentage:3.0f}%|{bar:8}| {desc}", file=sys.stderr
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
        self._bar.n = event.progress
        self._bar.set_description_str(
            f"epoch {event.epoch}: {self._words(event.metric)}, "
            f"{clock(left)} left, {rate:,.0f} {unit}/s"  # all of it fits into 80 columns
        )
        self._drawn, self._speed = now, (event.seconds, event.items)

    def _words(self, train: float) -> str:
        """The training metric and the last validation metric."""
        first, second = self._task.train_metric, self._task.valid_metric
        words = f"{first.label or first.name} {first.text(train)}"
        if self._valid is None:
            return words
        valid = "valid" if first == second else second.title("valid")
        return f"{words}, {valid} {second.text(self._valid)}"

    def measured(self, event: Measured) -> None:
        """Remember the metrics, and show them unless samples will follow."""
        self._valid = event.valid
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
