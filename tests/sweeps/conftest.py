"""Small sweeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.sweeps.file import Sweep, read_sweep

TINY = """
[sweep]
trials = {trials}
{more}
[corpus]
max_chars = 3000
cleaning = "letters"
[model]
hidden_size = 8
[training]
epochs = 2
[search]
lr = {{ low = 0.001, high = 0.1, log = true }}
output_dropout = [0.0, 0.2, 0.4]
"""


@pytest.fixture
def tiny(working_folder: Path) -> Callable[..., Sweep]:
    """A sweep over trainings that take a moment."""

    def make(trials: int = 3, more: str = "", name: str = "tiny") -> Sweep:
        file = working_folder / f"{name}.toml"
        file.write_text(TINY.format(trials=trials, more=more), encoding="utf-8")
        return read_sweep(Path(file.name))

    return make
