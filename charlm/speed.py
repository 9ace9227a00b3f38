"""The speed of a device, measured in a moment."""

from __future__ import annotations

import time

import torch
from torch import nn

STEPS, BATCH, UNITS = 64, 16, 384  # of the LSTM that is timed


def training_speed(device: torch.device, *, bfloat16: bool, seconds: float) -> float:
    """Floating-point operations per second in the training of an LSTM, forward and backward.

    Multiplications and additions of its matrix products are counted. It is the best of some steps,
    because other programs can only slow them down.

    Args:
        seconds: how long to measure; one step after the first is always timed.
    """
    with torch.random.fork_rng(devices=[]):  # it must not change what a training draws
        network = nn.LSTM(UNITS, UNITS).to(device)
    inputs = torch.zeros(STEPS, BATCH, UNITS, device=device)
    best, end, is_first = 0.0, time.monotonic() + seconds, True
    while not best or time.monotonic() < end:
        started = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            outputs, _ = network(inputs)
        gradients = torch.autograd.grad(outputs.float().sum(), [*network.parameters()])
        float(gradients[0].sum())  # waits for the device
        taken = time.monotonic() - started
        if not is_first:  # the first step prepares much
            best = max(best, 6.0 * STEPS * BATCH * 4 * UNITS * 2 * UNITS / max(taken, 1e-9))
        is_first = False
    return best
