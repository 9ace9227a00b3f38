"""A running training in words, for progress bars and the lines above them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from charlm.errors import counted
from charlm.task import Task

if TYPE_CHECKING:
    from charlm.training import Measured, Stepped


_ROOM = 68  # characters beside the bar on a line of 80
_REFRESH = 0.2  # seconds between two drawings of the bar


class TrainingWords:
    """The words for the events of one training."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._valid: float | None = None
        self.best: float | None = None
        """The best validation metric so far."""
        self._speed: tuple[float, int] = (0.0, 0)  # seconds and items at the last words
        self._drawn = 0.0

    def draw(self, bar: Any, event: Stepped) -> None:
        """Show a step on a tqdm bar whose total is 1, unless one was shown a moment ago."""
        now = time.monotonic()
        if now - self._drawn >= _REFRESH or event.progress >= 1:
            bar.n = event.progress
            bar.set_description_str(self.stepped(event))
            self._drawn = now

    def stepped(self, event: Stepped) -> str:
        """Epoch, metrics, time left and, where it fits, the speed since the last call."""
        seconds, items = self._speed
        rate = (event.items - items) / max(event.seconds - seconds, 1e-9)
        self._speed = (event.seconds, event.items)
        unit = self._task.short_unit or self._task.unit
        metrics = self._metrics(event.metric, short=True)
        words = f"epoch {event.epoch}: {metrics}, {clock(event.left)} left"
        speed = f", {rate:,.0f} {unit}/s"
        return words + speed if len(words + speed) <= _ROOM else words

    def measured(self, event: Measured) -> str:
        """Time, epoch and metrics of a report."""
        self._valid = event.valid
        better = self._task.valid_metric.is_better
        if event.valid is not None and (self.best is None or better(event.valid, self.best)):
            self.best = event.valid
        if event.train is None:
            metric = self._task.valid_metric
            return f"before training: {metric.title('valid')} {metric.text(event.valid)}"
        return f"{clock(event.seconds)}  epoch {event.epoch:.4g}: {self._metrics(event.train)}"

    def _metrics(self, train: float, *, short: bool = False) -> str:
        """The training metric, the last validation metric, and the best one if it differs."""
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


def epochs_text(epochs: float) -> str:
    """A number of epochs as text: 1 epoch, 7.583 epochs."""
    return f"{epochs:.4g} epoch{'' if epochs == 1 else 's'}"


def duration(seconds: float) -> str:
    """A long time in words: 25 minutes, 18 hours, 3 days."""
    for unit, size in (("minute", 60), ("hour", 3600), ("day", 86400)):
        number = round(seconds / size)
        if unit == "day" or number < {"minute": 90, "hour": 48}[unit]:
            break
    return counted(number, unit)


def clock(seconds: float) -> str:
    """Seconds as text: 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
