"""Loggers write down the reports of a training as they come, beside its checkpoints.

A logger consumes the events of a training. Nothing is read back from what it wrote: when a training
resumes, a logger begins with the reports and samples of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from typing import Protocol

from charlm.atomic_files import patiently, write_atomic
from charlm.config.settings import check_known
from charlm.errors import CharlmError, shown
from charlm.runs import Run
from charlm.runs.files import encode_json, encode_lines
from charlm.training.events import Event, Measured, Noticed, Started

METRICS_FILE = "metrics.jsonl"


class Logger(Protocol):
    """Writes down the events of one training."""

    name: str  # for messages

    def log(self, event: Event) -> None:
        """Write an event, so that other programs see it at once.

        An exception ends this logger, but not the training.
        """

    def close(self) -> None:
        """Close the files. There may have been no event."""


class MetricsFile:
    """metrics.jsonl in the run folder: a line for each report, written when it is made.

    A training that resumes forgets the reports after its checkpoint, and so does the file.
    """

    name = METRICS_FILE

    def __init__(self, run: Run) -> None:
        self._run, self._path = run, run.folder / METRICS_FILE

    def log(self, event: Event) -> None:
        """Write the line of a report; at the start, the lines of the checkpoint."""
        match event:
            case Started():
                write_atomic(self._path, encode_lines(self._run.metrics))
            case Measured():
                line = encode_json(event.row(self._run.task))
                with patiently(lambda: self._path.open("ab")) as file:
                    file.write(line)

    def close(self) -> None:
        """Nothing is open between two lines."""


def _tensorboard() -> Callable[[Run], Logger]:
    from charlm.training.tensorboard import TensorBoard

    return TensorBoard


LOGGERS: dict[str, Callable[[], Callable[[Run], Logger]]] = {"tensorboard": _tensorboard}
"""Finds the loggers that a user can switch on. Each needs the extra of its name."""


def find_loggers(names: Iterable[str]) -> list[Callable[[Run], Logger]]:
    """The loggers of these names, to be made for a run.

    Raises:
        UsageError: a name is unknown.
        CharlmError: the package of a logger is not installed.
    """
    found = []
    for name in dict.fromkeys(names):
        check_known(name, LOGGERS, "logger")
        try:
            found.append(LOGGERS[name]())
        except ImportError:
            raise CharlmError(
                f"to write logs for {name}, charlm needs the package {name}",
                f'pip install "charlm[{name}]"',
            ) from None
    return found


def logged(
    events: Generator[Event, None, None], loggers: Iterable[Logger]
) -> Generator[Event, None, None]:
    """The events of a training; each goes to the loggers first.

    A logger that fails ends with one warning, and the training goes on.
    """
    left = list(loggers)
    with closing(events):
        try:
            for event in events:
                for logger in [*left]:
                    try:
                        logger.log(event)
                    except Exception as error:
                        left.remove(logger)
                        with suppress(Exception):
                            logger.close()
                        text = f"{logger.name} is no longer written: {shown(str(error))}"
                        yield Noticed(text=text, warning=True)
                yield event
        finally:
            for logger in left:
                with suppress(Exception):
                    logger.close()
