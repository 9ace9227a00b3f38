"""All rows, in the order of the table."""

from __future__ import annotations

from benchmarks import classification, generation, large_texts, startup, training
from benchmarks.harness import Row

ROWS: tuple[Row, ...] = (
    *training.ROWS,
    *generation.ROWS,
    *large_texts.ROWS,
    *startup.ROWS,
    *classification.ROWS,
)
