"""The display of a training that was started from Python: a progress bar, and a growing curve."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from charlm.compiled import teller
from charlm.errors import shown
from charlm.report.curves import learning_figure, learning_series
from charlm.report.words import TrainingWords

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.training import Measured, Stepped

_DRAWING = 0.05  # the largest share of the time for drawing the curve


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class TrainingDisplay:
    """A bar; above it, lines with the metrics or, in a notebook, their curve.

    The curve grows as that of the book's ``d2l.Animator``. Where stderr is neither a terminal nor
    a notebook, there are only the lines.

    Args:
        shown: False: show nothing.
    """

    def __init__(self, run: Run, *, shown: bool) -> None:
        self._run, self._shown, self._notebook = run, shown, in_notebook()
        self.words = TrainingWords(run.task)
        self._rows = list(run.metrics)
        self._bar: Any = None
        self._curve: Any = None
        self._next_curve = 0.0

    def __enter__(self) -> TrainingDisplay:
        if self._shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=1.0,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
                disable=False if self._notebook else None,  # None: unless it is a terminal
            )
            self.note(f"run: {shown(str(self._run.folder))}")
            teller.tell = self.note
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            teller.tell = None
            if self._notebook:
                self._draw_curve()
            self._bar.close()

    def note(self, line: str) -> None:
        """Write a line above the bar."""
        if self._bar is not None:  # a notebook shows stderr in red
            self._bar.write(line, file=sys.stdout if self._notebook else sys.stderr)

    def stepped(self, event: Stepped) -> None:
        """Draw the bar again, unless it was drawn a moment ago."""
        if self._bar is not None:
            self.words.draw(self._bar, event)

    def measured(self, event: Measured) -> None:
        """Show the metrics: as a line, or in the curve unless it was drawn a moment ago."""
        line = self.words.measured(event)
        train, valid = self._run.task.metric_keys
        self._rows.append({"epoch": event.epoch, train: event.train, valid: event.valid})
        if self._bar is None:
            return
        if not self._notebook:
            self.note(line)
        elif time.monotonic() >= self._next_curve:
            self._draw_curve()

    def _draw_curve(self) -> None:
        if not self._rows:
            return
        from IPython.display import display

        begun = time.monotonic()
        series = learning_series(self._run.task, self._rows)
        over = [("epoch", [row["epoch"] for row in self._rows])]
        figure = learning_figure(over, series, self._run.folder.name)
        if self._curve is None:
            self._curve = display(figure, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._curve.update(figure)
        now = time.monotonic()
        self._next_curve = now + (now - begun) / _DRAWING
