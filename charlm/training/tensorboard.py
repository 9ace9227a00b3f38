"""Event files for TensorBoard, in the folder ``tensorboard`` of a run."""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from charlm.runs import Run
from charlm.training.events import Event, Measured, Sampled, Started

FOLDER = "tensorboard"


class TensorBoard:
    """Writes the reports as scalars and the samples as text, by the step.

    The tags are the keys of metrics.jsonl, the speed since the report before, and ``sample/1``,
    ``sample/2``, ... A training that resumes writes all reports of its checkpoint again, after a
    mark that makes TensorBoard forget the older ones (``purge_step``): so no step is there twice,
    and none is missing if an earlier part of the training did not log. The times of the events are
    those of the training, without the pauses in it.
    """

    name = FOLDER

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writer: Any = None
        self._begun = 0.0  # when the training would have begun without pauses, in Unix seconds
        self._step = self._samples = self._items = 0
        self._seconds = 0.0

    def log(self, event: Event) -> None:
        """Write a report or a sample; at the start, those of the checkpoint."""
        match event:
            case Started():
                self._open()
            case Measured():
                self._report(event.row(self._run.task))
                self._writer.flush()
            case Sampled():
                self._sample(event.text)
                self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> None:
        rows = self._run.metrics
        self._begun = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        self._writer = SummaryWriter(self._run.folder / FOLDER, purge_step=0)
        samples: dict[float, list[str]] = defaultdict(list)
        for sample in self._run.samples:
            samples[sample["epoch"]].append(sample["text"])
        for row in rows:
            self._report(row)
            for text in samples.pop(row["epoch"], []):
                self._sample(text)
        self._writer.flush()

    def _report(self, row: dict[str, Any]) -> None:
        unit = self._run.task.unit
        items, seconds = row[unit] - self._items, row["seconds"] - self._seconds
        values = {key: value for key, value in row.items() if key not in ("step", "seconds", unit)}
        values[f"{unit}_per_second"] = items / seconds if items and seconds > 0 else None
        self._items, self._seconds = row[unit], row["seconds"]
        self._step, self._samples = row["step"], 0
        for tag, value in values.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(tag, value, self._step, self._begun + self._seconds)

    def _sample(self, text: str) -> None:
        """Write a sample as a block of code, because TensorBoard reads text as Markdown."""
        self._samples += 1
        lines = re.split("\r\n|\r|\n", text.encode("utf-8", "backslashreplace").decode())
        block = "\n".join(f"    {line}" for line in lines)
        time = self._begun + self._seconds
        self._writer.add_text(f"sample/{self._samples}", block, self._step, time)
