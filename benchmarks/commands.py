"""Commands in processes of their own: their output, their wall time, their peak memory."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import NotHereError

CHARLM = (sys.executable, "-m", "charlm")
IMPORT_TORCH = (sys.executable, "-c", "import torch")
PEAK = Path(__file__).with_name("peak.py")
LIMIT = 3_600  # seconds of a command; a row fails if one takes longer


def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    """The standard output of a command, which must succeed; its errors are shown.

    Python keeps compiled modules, as it does for an installed package.
    """
    variables = {**os.environ, **environment}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=LIMIT,
    )
    return done.stdout


def charlm(folder: Path, *arguments: str, **environment: str) -> Any:
    """The JSON that a charlm command prints."""
    command = [*CHARLM, *arguments, "--json", "--quiet"]
    return json.loads(run(command, folder, **environment))


def seconds(command: Sequence[str], folder: Path, **environment: str) -> float:
    """The wall time of a command in seconds."""
    started = time.perf_counter()
    run(command, folder, **environment)
    return time.perf_counter() - started


def peak(command: Sequence[str], folder: Path, **environment: str) -> float:
    """The peak memory of a command in MB: the largest resident size of its process."""
    if importlib.util.find_spec("resource") is None:
        raise NotHereError("this system does not tell the peak memory of a process")
    result = folder / "peak"
    run([sys.executable, str(PEAK), str(result), str(LIMIT - 10), *command], folder, **environment)
    return int(result.read_text()) / 1e6
