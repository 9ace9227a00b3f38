"""The kernels of `charlm.recurrent.lstm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlm.recurrent.kernels import Kernel, Results, Steps


def lstm(
    steps: Steps,
    x: Tensor,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    *peepholes: Tensor,
) -> Results:
    """`charlm.recurrent.lstm.LSTMCell`."""
    units = len(weight)
    hidden, cells = steps.empty(steps.rows, units), steps.empty(steps.rows, units)
    gates, product = steps.kept(4 * units), steps.low_empty(len(first), 4 * units)
    low = steps.low_like(hidden)
    first, weight = steps.low(first), steps.low(weight)
    multiplied, copied = steps.before(first, low), steps.copies(hidden, low)
    products = steps.each(product)
    x_, m_, g_ = steps.views(x, product, gates, gates=4)
    c_, h_ = steps.views(cells, hidden)
    before_ = steps.view_before(first_cell, cells)
    compute, extra = steps.pointwise.lstm, steps.arrays()
    if peepholes:
        compute, extra = steps.pointwise.lstm_peephole, steps.arrays(torch.stack(peepholes))
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        compute(x_[t], m_[t], *extra, before_[t], g_[t], c_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden), steps.last(cells)], [low, gates, cells]


def lstm_backward(
    steps: Steps,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    *rest: Any,
) -> list[Tensor]:
    """The gradients of `lstm`."""
    *peepholes, (low, gates, cells), by_outputs, (by_last, by_last_cell) = rest
    back = steps.low(weight.t())
    by_x = steps.low_empty(*gates.shape)
    by_later, by_cell = steps.low(by_last, copy=True), by_last_cell.clone()
    products, sources = steps.each(by_later), steps.each(by_x)
    g_, d_ = steps.views(gates, by_x, gates=4)
    c_, go_, gl_, gc_ = steps.views(cells, by_outputs, by_later, by_cell)
    before_ = steps.view_before(first_cell, cells)
    compute, extra = steps.pointwise.lstm_backward, steps.arrays()
    if peepholes:
        compute = steps.pointwise.lstm_peephole_backward
        extra = steps.arrays(torch.stack(peepholes))
    for t in reversed(range(len(steps.sizes))):
        compute(g_[t], *extra, before_[t], c_[t], go_[t], gl_[t], gc_[t], d_[t])
        torch.mm(sources[t], back, out=products[t])
    found = [by_x, by_later, by_cell, steps.weight_gradient(steps.low(first), low, by_x)]
    if peepholes:
        before = torch.cat(steps.before(first_cell, cells))
        by_i, by_f, _, by_o = by_x.chunk(4, dim=1)
        found += [(by_i * before).sum(0), (by_f * before).sum(0), (by_o * cells).sum(0)]
    return found


PEEPHOLES = ("peephole_input", "peephole_forget", "peephole_output")
LSTM = Kernel(lstm, lstm_backward)
LSTM_PEEPHOLE = Kernel(lstm, lstm_backward, ("weight_hidden", *PEEPHOLES))
