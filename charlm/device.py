"""The device that a model computes on, and the precision."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from charlm.errors import UsageError
from charlm.launching import one_of_several


def select_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    ``auto`` is CUDA where it is available, else the CPU. MPS must be named: it is slower than the
    CPU for networks of this size. Each of several processes on a machine has its own card.

    Raises:
        UsageError: there is no such device.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available() and one_of_several():
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Not torch's other names: "meta" has no numbers, and some need additional packages.
    if name.partition(":")[0] in ("cpu", "cuda", "mps"):
        with suppress(RuntimeError, AssertionError, NotImplementedError):
            device = torch.device(name)
            torch.empty(1, device=device)
            if device.index is not None and one_of_several():
                torch.cuda.set_device(device)  # whose random numbers are seeded
            return device
    raise UsageError(f"no device {name!r} here", "try --device cpu")


@cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory for later use, once and for all, where it is glibc.

    By default it gives the buffers of a training step back to the system, and gets them again for
    the next step, page by page. That is up to an eighth of the time of a step on a CPU.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with suppress(OSError, AttributeError):  # another C library
        glibc = ctypes.CDLL("libc.so.6")
        glibc.mallopt(mmap_threshold, 2**25)  # the largest one that it takes
        glibc.mallopt(trim_threshold, 2**30)


class Precision(NamedTuple):
    """The precision of the products in training."""

    bfloat16: bool
    notices: tuple[str, ...] = ()  # for the user, one line each


def select_precision(name: str, device: torch.device) -> Precision:
    """The precision for ``auto``, ``float32`` or ``bfloat16``.

    ``auto`` is bfloat16 on a CPU with instructions for it, else float32. Without such
    instructions a CPU emulates bfloat16, which is slower than float32.

    Raises:
        UsageError: ``name`` is bfloat16, and the device cannot compute in it.
    """
    if name == "auto":
        capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        flags = any(capabilities.get(flag) for flag in ("avx512_bf16", "amx_bf16"))
        if device.type != "cpu" or not flags:
            return Precision(bfloat16=False)
        if computes_in_bfloat16(device):
            return Precision(bfloat16=True)
        notice = "this processor has bfloat16, but torch cannot use it: training in float32"
        return Precision(bfloat16=False, notices=(notice,))
    if name == "bfloat16" and not computes_in_bfloat16(device):
        raise UsageError(
            f"the device {device} cannot compute in bfloat16",
            "train with --set precision=float32, or with --set precision=auto",
        )
    return Precision(bfloat16=name == "bfloat16")


@cache
def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a small training step in bfloat16 works on the device; it draws no random numbers.

    The flags of a processor do not tell: oneDNN refuses bfloat16 where ``ONEDNN_MAX_CPU_ISA`` or a
    virtual machine masks one of the features that it needs.
    """
    size = 32
    with torch.random.fork_rng(devices=[]):
        lstm, head = nn.LSTM(size, size), nn.Linear(size, size)
    try:
        lstm, head = lstm.to(device), head.to(device)
        with torch.autocast(device.type, torch.bfloat16):
            outputs, _ = lstm(torch.zeros(size, size, size, device=device))
            loss = head(outputs).float().sum()
        torch.autograd.grad(loss, [*lstm.parameters(), *head.parameters()])
    except RuntimeError:
        return False
    return True
