"""The speed of a device, measured in a moment."""

from __future__ import annotations

import time

import torch

_SHAPE = (1024, 448, 1536)  # of a product in an LSTM of 384 units, in a batch of 16 x 64


def products_per_second(device: torch.device, *, bfloat16: bool, seconds: float = 0.25) -> float:
    """Floating-point operations per second of matrix products, a multiplication and an addition.

    It is the best of some short measurements, because other programs can only slow them down.

    Args:
        seconds: how long to measure.
    """
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    rows, inner, columns = _SHAPE
    first = torch.ones(rows, inner, dtype=dtype, device=device)
    second = torch.ones(inner, columns, dtype=dtype, device=device)
    best, end, repeats = 0.0, time.monotonic() + seconds, 1
    while time.monotonic() < end:
        begun = time.monotonic()
        for _ in range(repeats):
            product = first @ second
        float(product[0, 0])  # waits for the device
        taken = time.monotonic() - begun
        best = max(best, repeats * 2.0 * rows * inner * columns / max(taken, 1e-9))
        repeats = repeats if taken > seconds / 20 else 2 * repeats
    return best
