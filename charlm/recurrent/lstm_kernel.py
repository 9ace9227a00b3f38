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
    states, cell_states = steps.states(first), steps.states(first_cell)
    gates, product = steps.kept(4 * units), steps.low_empty(len(first), 4 * units)
    low, weight = steps.low_states(states), steps.low(weight)
    hidden, cells = steps.outputs(states), steps.after(cell_states)
    multiplied, copied = steps.before(low), steps.copies(hidden, steps.after(low))
    products, inputs, x_ = steps.each(product), steps.inputs(x, 4), steps.chosen
    m_, g_ = steps.views(product, gates, gates=4)
    c_, h_ = steps.views(cells, hidden)
    before_ = steps.view_before(cell_states)
    compute, extra = steps.pointwise.lstm, steps.arrays()
    if peepholes:
        compute, extra = steps.pointwise.lstm_peephole, steps.arrays(torch.stack(peepholes))
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        compute(inputs, x_[t], m_[t], *extra, before_[t], g_[t], c_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden), steps.last(cells)], [low, gates, cell_states]


def lstm_backward(
    steps: Steps,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    *rest: Any,
) -> list[Tensor]:
    """The gradients of `lstm`."""
    *peepholes, (low, gates, cell_states), by_outputs, (by_last, by_last_cell) = rest
    cells, back = steps.after(cell_states), steps.low(weight.t())
    by_gates = steps.low_empty(*gates.shape)
    by_later, by_cell = steps.low(by_last, copy=True), by_last_cell.clone()
    products, sources = steps.each(by_later), steps.each(by_gates)
    by_x, added = steps.additions(by_gates, 4)
    g_, d_ = steps.views(gates, by_gates, gates=4)
    c_, go_, gl_, gc_ = steps.views(cells, by_outputs, by_later, by_cell)
    before_ = steps.view_before(cell_states)
    compute, extra = steps.pointwise.lstm_backward, steps.arrays()
    if peepholes:
        compute = steps.pointwise.lstm_peephole_backward
        extra = steps.arrays(torch.stack(peepholes))
    for t in reversed(range(len(steps.sizes))):
        compute(g_[t], *extra, before_[t], c_[t], go_[t], gl_[t], gc_[t], d_[t])
        added(t)
        torch.mm(sources[t], back, out=products[t])
    by_weight = steps.weight_gradients((steps.rows_before(low), by_gates))
    found = [by_x, by_later, by_cell, by_weight]
    if peepholes:
        before = steps.rows_before(cell_states)
        by_i, by_f, _, by_o = by_gates.chunk(4, dim=1)
        found += [(by_i * before).sum(0), (by_f * before).sum(0), (by_o * cells).sum(0)]
    return found


PEEPHOLES = ("peephole_input", "peephole_forget", "peephole_output")
LSTM = Kernel(lstm, lstm_backward)
LSTM_PEEPHOLE = Kernel(lstm, lstm_backward, ("weight_hidden", *PEEPHOLES))
