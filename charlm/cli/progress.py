"""How a training is shown while it runs."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from charlm.cli.output import Output, clock, figure_words, printable

if TYPE_CHECKING:
    from charlm.training import Measured, Sampled, Stepped

_REFRESH = 0.2  # seconds from one drawing of the bar to the next


class ProgressBar:
    """A tqdm bar on a terminal; where stderr is a file or a pipe, a line with each sample.

    Within it, the messages of ``output`` go above the bar.

    Args:
        figures: the names of what is measured of the training and of what is held out.
        unit: what is counted.
        samples: whether a measure is followed by samples, and shown above them alone.
    """

    def __init__(
        self, output: Output, figures: tuple[str, str], unit: str, *, samples: bool
    ) -> None:
        self._output = output
        self._figures = figures
        self._unit = {"characters": "ch"}.get(unit, unit)
        self._samples = samples
        self._bar: Any = None
        self._drawn = 0.0
        self._valid: float | None = None
        self._speed: tuple[float, int] = (0.0, 0)  # seconds and items at the last drawing
        self._line = ""
        self._shown_line = ""

    def __enter__(self) -> ProgressBar:
        if not self._output.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=1.0, bar_format="{percentage:3.0f}%|{bar:8}| {desc}", file=sys.stderr
            )
            self._show, self._output.show = self._output.show, self._write
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._output.show = self._show
            self._bar.close()

    def _write(self, line: str) -> None:
        with suppress(OSError):  # the terminal is gone: training goes on
            self._bar.write(line, file=sys.stderr)

    def update(self, event: Stepped) -> None:
        """Draw the bar anew, if it was not a moment ago."""
        now = time.monotonic()
        if self._bar is None or (now - self._drawn < _REFRESH and event.progress < 1):
            return
        seconds, items = self._speed
        rate = (event.items - items) / max(event.seconds - seconds, 1e-9)
        left = event.seconds / event.progress * (1 - event.progress)
        self._bar.n = event.progress
        self._bar.set_description_str(
            f"epoch {event.epoch}: {self._words(event.figure)}, "
            f"{clock(left)} left, {rate:,.0f} {self._unit}/s"  # all of it fits into 80 columns
        )
        self._drawn, self._speed = now, (event.seconds, event.items)

    def _words(self, train: float) -> str:
        """A figure of the training, and the last one of what is held out."""
        names = self._figures
        words = figure_words(names[0].removeprefix("train_"), train)
        if self._valid is None:
            return words
        same = names[0].removeprefix("train_") == names[1].removeprefix("valid_")
        valid = figure_words("valid" if same else names[1], self._valid)
        return f"{words}, {valid}"

    def measured(self, event: Measured) -> None:
        """Remember the figures, for the bar and for the line above the next samples."""
        self._valid = event.valid
        self._line = f"{clock(event.seconds)}  epoch {event.epoch:.4g}: {self._words(event.train)}"
        if not self._samples:
            self._output.note(self._line)

    def sampled(self, event: Sampled) -> None:
        """Show a sample, and above the first of a set where the training stood."""
        if self._line != self._shown_line:
            self._output.note(self._line)
            self._shown_line = self._line
        for line in printable(event.text).splitlines() or [""]:
            self._output.note(f"    {line}")
