"""The faster backend of a cell."""

from __future__ import annotations

from charlm.compiled import can_compile
from charlm.recurrent.cells import CELLS, has_kernel


def fastest_backend(cell: str, *, device: str) -> str:
    """The backend, "torch" or "scratch", with which a cell trains faster.

    On a GPU that is torch, whose networks are single calls of the GPU's library. On a CPU, torch
    has such a call (oneDNN) for the LSTM alone: it mostly takes 0.4 to 0.9 of the scratch kernel's
    time. nn.RNN and nn.GRU compute step by step, and take 1.1 to 3.7 times as long as the kernels
    in most sizes, and 0.9 in the worst. Without numba the kernels are about as fast as torch.

    docs/speed.md has the measurements over sizes, batches, precisions and threads. The few sizes
    with another winner do not decide, so that the rule can be said in a line.

    Args:
        cell: a name in `charlm.recurrent.cells.CELLS`.
        device: the type of the device: cpu, cuda or mps.
    """
    if CELLS[cell].torch is None:
        return "scratch"
    if device != "cpu" or cell == "lstm" or not has_kernel(cell):
        return "torch"
    return "scratch" if can_compile() else "torch"
