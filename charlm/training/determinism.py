"""Random numbers of a training step, and deterministic algorithms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_step(seed: int, step: int, device: torch.device, rank: int = 0) -> None:
    """Seed torch's generators for the dropout masks of one step of training.

    The masks of a step follow from the seed, the step and the process's rank alone, so a resumed
    training draws the same ones on every kind of device, and validating or sampling in between
    changes nothing.
    """
    entropy = (seed, step, rank) if rank else (seed, step)
    number = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Use only deterministic algorithms inside the block, if ``wanted`` is true.

    On the CPU all algorithms are deterministic for a fixed number of threads. For CUDA see
    docs/reliability.md.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # cuBLAS reads this variable when it is first used; its documentation gives the value.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
