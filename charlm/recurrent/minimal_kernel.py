"""Whole sequences of the minimal cells on the CPU; `charlm.recurrent.kernels` explains kernels.

All products come before the first step, and each step is a weighted mean. numba compiles all steps
to one function (`charlm.recurrent.minimal_numba`). In torch, a step is one operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from charlm.recurrent.kernels import Kernel, Results, Steps

KeepAndCandidate = Callable[[Tensor], tuple[Tensor, Tensor]]


def minimal(gates: KeepAndCandidate, steps: Steps, x: Tensor, first: Tensor) -> Results:
    """`charlm.recurrent.minimal.MinimalCell`, whose ``gates`` are k and n of all steps."""
    states = steps.states(first)
    hidden = steps.outputs(states)
    if steps.compiled:
        from charlm.recurrent import minimal_numba

        arrays = steps.arrays(x.view(len(x), -1, first.shape[1]), first, hidden)
        minimal_numba.scan(np.array(steps.sizes), *arrays)
    else:
        keep, candidate = gates(x.to(steps.dtype))
        buffers = map(steps.each, (candidate, keep, hidden))
        for n, k, h, b in zip(*buffers, steps.before(states), strict=True):
            torch.lerp(n, b, k, out=h)
    return [hidden, steps.last(hidden)], [states, x]


def minimal_backward(
    gates: KeepAndCandidate,
    steps: Steps,
    first: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `minimal`."""
    states, x = kept
    hidden = steps.after(states)
    by_state = by_last[0].clone()  # by the state after a step, and at the end by the first one
    if steps.compiled:
        from charlm.recurrent import minimal_numba

        by_x = steps.low_empty(*x.shape)
        x_, by_x_ = (each.view(len(x), -1, first.shape[1]) for each in (x, by_x))
        if len(by_outputs) < len(hidden):  # the outputs are not used
            by_outputs = torch.zeros_like(hidden)
        arrays = steps.arrays(x_, first, hidden, by_outputs, by_state, by_x_)
        minimal_numba.scan_backward(np.array(steps.sizes), *arrays)
        return [by_x, by_state]
    with torch.enable_grad():
        x = x.to(steps.dtype).requires_grad_()
        keep, candidate = gates(x)
    by_hidden = torch.empty_like(hidden)
    each = [*zip(*map(steps.each, (keep.detach(), by_outputs, by_hidden, by_state)), strict=True)]
    for k, by_output, by_h, by_s in reversed(each):
        torch.add(by_output, by_s, out=by_h)
        torch.mul(by_h, k, out=by_s)
    before = steps.rows_before(states)
    by_gates = by_hidden * (before - candidate.detach()), by_hidden * (1 - keep.detach())
    (by_x,) = torch.autograd.grad((keep, candidate), x, by_gates)
    return [by_x, by_state]


def minimal_kernel(gates: KeepAndCandidate) -> Kernel:
    """The kernel of a minimal cell."""
    return Kernel(partial(minimal, gates), partial(minimal_backward, gates), (), looks_up=False)
