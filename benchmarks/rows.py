"""All rows, in the order of the table."""

from __future__ import annotations

from benchmarks import generation, training
from benchmarks.harness import Row

ROWS: tuple[Row, ...] = (*training.ROWS, *generation.ROWS)
