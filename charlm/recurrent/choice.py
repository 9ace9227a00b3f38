"""The faster backend of a cell."""

from __future__ import annotations

from charlm.compiled import can_compile
from charlm.recurrent.cells import CELLS, has_kernel


def fastest_backend(cell: str, *, device: str) -> str:
    """The backend, "torch" or "scratch", with which a cell trains faster.

    On a GPU that is torch, whose networks are single calls of the GPU's library. On a CPU, torch
    has such a call (oneDNN) for the LSTM alone; nn.RNN and nn.GRU compute step by step, and the
    kernels of the scratch cells are faster.

    Args:
        cell: a name in `charlm.recurrent.cells.CELLS`.
        device: the type of the device: cpu, cuda or mps.
    """
    if CELLS[cell].torch is None:
        return "scratch"
    if device != "cpu" or cell == "lstm" or not has_kernel(cell):
        return "torch"
    return "scratch" if can_compile() else "torch"
