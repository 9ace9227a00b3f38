"""The display of a running training."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from charlm.cli.output import Output, printable
from charlm.report.words import TrainingWords, epochs_text
from charlm.task import Task

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.training import Event, Finished, Measured, Sampled, Started, Stepped


class ProgressBar:
    """A tqdm bar on a terminal; if stderr is a file or a pipe, only the lines above the bar.

    While the bar is open, the messages of ``output`` are printed above it.
    """

    def __init__(self, output: Output, task: Task) -> None:
        self._output, self._task = output, task
        self.words = TrainingWords(task)
        self._bar: Any = None
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
        if self._bar is not None:
            self.words.draw(self._bar, event)

    def measured(self, event: Measured) -> None:
        """Remember the metrics, and show them unless samples will follow."""
        self._line = self.words.measured(event)
        if event.train is None:
            self._output.note(self._line)
            self._shown_line = self._line
            return
        if not self._task.has_samples:
            self._output.note(self._line)

    def sampled(self, event: Sampled) -> None:
        """Show a sample, with the metrics above the first sample of a set."""
        if self._line != self._shown_line:
            self._output.note(self._line)
            self._shown_line = self._line
        for line in printable(event.text).splitlines() or [""]:
            self._output.note(f"    {line}")


def parameters_text(number: int, in_tables: int) -> str:
    """The number of parameters, and how many of them are in tables."""
    some = f" ({in_tables:,} in tables of n-grams)" if in_tables else ""
    return f"{number:,} parameters{some}"


def follow(
    run: Run, corpus: Any, events: Iterable[Event], output: Output
) -> tuple[Started, Finished]:
    """Show the events of a training: a progress bar on a terminal, metrics and samples."""
    from charlm.training import Finished, Measured, Noticed, Sampled, Started, Stepped

    stepped = False
    with ProgressBar(output, run.task) as bar:
        for event in events:
            match event:
                case Started():
                    started, bar.words.best = event, event.best
                    model = run.config.model
                    words = parameters_text(event.parameters, event.in_tables)
                    output.note(
                        f"training {model.cell} ({model.backend}), {words}, "
                        f"on {event.train_size:,} {run.task.unit} of {corpus.name}, "
                        f"{event.device}; run: {run.folder}"
                    )
                    for notice in event.notices:
                        output.warn(notice)
                    if event.epoch:
                        output.note(f"resuming after {epochs_text(event.epoch)}")
                case Stepped():
                    stepped = True
                    bar.update(event)
                case Measured():
                    bar.measured(event)
                case Sampled():
                    bar.sampled(event)
                case Noticed():
                    (output.warn if event.warning else output.note)(event.text)
                case Finished():
                    if not stepped and not event.interrupted:
                        hint = "give more --epochs or --minutes to train longer"
                        if event.out_of_patience:
                            hint = "it stopped improving; give a larger --patience to train longer"
                        output.note(f"this training is already complete; {hint}")
                    return started, event
    raise AssertionError("training ends with a Finished event")
