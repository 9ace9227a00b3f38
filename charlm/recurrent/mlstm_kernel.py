"""Whole sequences of a multiplicative LSTM on the CPU; `charlm.recurrent.kernels` explains kernels.

m and its factors are only multiplied, so they have the type of the products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from charlm.recurrent.kernels import Kernel, Results, Steps


def mlstm(steps: Steps, x: Tensor, first: Tensor, first_cell: Tensor, weight: Tensor) -> Results:
    """`charlm.recurrent.mlstm.MultiplicativeLSTMCell`."""
    units = len(weight)
    states, cell_states = steps.states(first), steps.states(first_cell)
    hidden, cells = steps.outputs(states), steps.after(cell_states)
    gates, product = steps.kept(4 * units), steps.low_empty(len(first), 4 * units)
    by_state, mixed = (steps.low_like(steps.kept(units)) for _ in range(2))
    low = steps.low_states(states)
    by_input, projected = (part.contiguous() for part in x.tensor_split([units], dim=1))
    by_input, inputs = steps.low(by_input), steps.inputs(projected, 4)
    to_mixed, to_gates = (steps.low(part) for part in weight.tensor_split([units], dim=1))
    multiplied, copied = steps.before(low), steps.copies(hidden, steps.after(low))
    products, inputs_, states_, mixed_ = map(steps.each, (product, by_input, by_state, mixed))
    x_, (m_, g_) = steps.chosen, steps.views(product, gates, gates=4)
    c_, h_ = steps.views(cells, hidden)
    before_ = steps.view_before(cell_states)
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], to_mixed, out=states_[t])
        torch.mul(inputs_[t], states_[t], out=mixed_[t])
        torch.mm(mixed_[t], to_gates, out=products[t])
        steps.pointwise.lstm(inputs, x_[t], m_[t], before_[t], g_[t], c_[t], h_[t])
        copied(t)
    kept = [low, gates, cell_states, by_input, by_state, mixed]
    return [hidden, steps.last(hidden), steps.last(cells)], kept


def mlstm_backward(
    steps: Steps,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `mlstm`."""
    low, gates, cell_states, by_input, by_state, mixed = kept
    cells = steps.after(cell_states)
    parts = weight.tensor_split([len(weight)], dim=1)
    from_mixed, from_gates = (steps.low(part.t()) for part in parts)
    by_gates, by_mixed = steps.low_empty(*gates.shape), steps.low_empty(*first.shape)
    from_input, from_state = (torch.empty_like(mixed) for _ in range(2))
    by_later, by_cell = steps.low(by_last[0], copy=True), by_last[1].clone()
    products, sources, mixed_ = map(steps.each, (by_later, by_gates, by_mixed))
    inputs_, states_, ti_, ts_ = map(steps.each, (by_input, by_state, from_input, from_state))
    g_, d_ = steps.views(gates, by_gates, gates=4)
    c_, go_, gl_, gc_ = steps.views(cells, by_outputs, by_later, by_cell)
    before_ = steps.view_before(cell_states)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.lstm_backward
        compute(g_[t], before_[t], c_[t], go_[t], gl_[t], gc_[t], d_[t])
        torch.mm(sources[t], from_gates, out=mixed_[t])
        torch.mul(mixed_[t], states_[t], out=ti_[t])
        torch.mul(mixed_[t], inputs_[t], out=ts_[t])
        torch.mm(ts_[t], from_mixed, out=products[t])
    by_weight = steps.weight_gradients((steps.rows_before(low), from_state), (mixed, by_gates))
    return [torch.cat([from_input, by_gates], dim=1), by_later, by_cell, by_weight]


MLSTM = Kernel(mlstm, mlstm_backward, looks_up=False)
