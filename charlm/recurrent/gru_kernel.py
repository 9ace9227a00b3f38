"""The kernels of `charlm.recurrent.gru`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from charlm.recurrent.kernels import Kernel, Results, Steps


def gru_after(
    steps: Steps, x: Tensor, first: Tensor, weight: Tensor, bias_candidate: Tensor
) -> Results:
    """`charlm.recurrent.gru.GRUCell` with the reset after the product."""
    units = len(weight)
    states, gates = steps.states(first), steps.kept(4 * units)
    product, low = steps.low_empty(len(first), 3 * units), steps.low_states(states)
    hidden, before_ = steps.outputs(states), steps.view_before(states)
    weight = steps.low(weight)
    multiplied, copied = steps.before(low), steps.copies(hidden, steps.after(low))
    products, inputs, x_ = steps.each(product), steps.inputs(x, 3), steps.chosen
    (m_,) = steps.views(product, gates=3)
    (g_,), (h_,) = steps.views(gates, gates=4), steps.views(hidden)
    (bias,) = steps.arrays(bias_candidate)
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        steps.pointwise.gru_after(inputs, x_[t], m_[t], bias, before_[t], g_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden)], [states, low, gates]


def gru_after_backward(
    steps: Steps,
    first: Tensor,
    weight: Tensor,
    bias_candidate: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `gru_after`."""
    (states, low, gates), units = kept, len(weight)
    # By q, r, z, n: the first three are by the product, the last three by the projected input.
    by_gates = steps.low_empty(*gates.shape)
    by_product = by_gates[:, : 3 * units]
    by_x, added = steps.additions(by_gates, 4, skip=1)
    back = steps.low(weight.roll(units, dims=1).t())
    by_later, direct = steps.low(by_last[0], copy=True), torch.zeros_like(first)
    products, sources = steps.each(by_later), steps.each(by_product)
    g_, d_ = steps.views(gates, by_gates, gates=4)
    go_, gl_, gd_ = steps.views(by_outputs, by_later, direct)
    before_ = steps.view_before(states)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.gru_after_backward
        compute(g_[t], before_[t], go_[t], gl_[t], gd_[t], d_[t])
        added(t)
        torch.mm(sources[t], back, out=products[t])
    before = steps.rows_before(low)
    by_q, by_reset_and_update = by_product.tensor_split([units], dim=1)
    by_weight = steps.weight_gradients((before, by_reset_and_update), (before, by_q))
    by_bias = by_q.sum(0, dtype=steps.dtype)
    return [by_x, by_later + direct, by_weight, by_bias]


def gru_before(steps: Steps, x: Tensor, first: Tensor, weight: Tensor) -> Results:
    """`charlm.recurrent.gru.GRUCell` with the reset before the product."""
    units = len(weight)
    states, gates = steps.states(first), steps.kept(3 * units)
    reset = steps.kept(units)  # r * h
    low, low_reset = steps.low_states(states), steps.low_like(reset)
    to_gates, to_candidate = (steps.low(part) for part in weight.tensor_split([2 * units], dim=1))
    by_two, by_one = steps.low_empty(len(first), 2 * units), steps.low_empty(*first.shape)
    hidden, before_ = steps.outputs(states), steps.view_before(states)
    multiplied, copied = steps.before(low), steps.copies(hidden, steps.after(low))
    copied_reset = steps.copies(reset, low_reset)
    products, candidates, resets = map(steps.each, (by_two, by_one, low_reset))
    inputs, x_ = steps.inputs(x, 3), steps.chosen
    (g_,), (m_,) = steps.views(gates, gates=3), steps.views(by_two, gates=2)
    n_, r_, h_ = steps.views(by_one, reset, hidden)
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], to_gates, out=products[t])
        steps.pointwise.gru_gates(inputs, x_[t], m_[t], before_[t], g_[t], r_[t])
        copied_reset(t)
        torch.mm(resets[t], to_candidate, out=candidates[t])
        steps.pointwise.gru_candidate(inputs, x_[t], n_[t], before_[t], g_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden)], [states, low, gates, low_reset]


def gru_before_backward(
    steps: Steps,
    first: Tensor,
    weight: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `gru_before`."""
    (states, low, gates, low_reset), units = kept, len(weight)
    from_gates, from_candidate = (
        steps.low(part.t()) for part in weight.tensor_split([2 * units], dim=1)
    )
    by_all, by_reset = steps.low_empty(*gates.shape), steps.low_empty(*first.shape)
    by_gates, by_candidate = by_all.tensor_split([2 * units], dim=1)
    by_x, added = steps.additions(by_all, 3)
    by_later, direct = steps.low(by_last[0], copy=True), torch.zeros_like(first)
    products, resets = steps.each(by_later), steps.each(by_reset)
    gate_sources, sources = steps.each(by_gates), steps.each(by_candidate)
    g_, d_ = steps.views(gates, by_all, gates=3)
    go_, gl_, gd_, gr_ = steps.views(by_outputs, by_later, direct, by_reset)
    before_ = steps.view_before(states)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.gru_candidate_backward
        compute(g_[t], before_[t], go_[t], gl_[t], gd_[t], d_[t])
        torch.mm(sources[t], from_candidate, out=resets[t])
        steps.pointwise.gru_gates_backward(g_[t], before_[t], gr_[t], gd_[t], d_[t])
        added(t)
        torch.mm(gate_sources[t], from_gates, out=products[t])
    by_weight = steps.weight_gradients(
        (steps.rows_before(low), by_gates), (low_reset, by_candidate)
    )
    return [by_x, by_later + direct, by_weight]


GRU_AFTER = Kernel(gru_after, gru_after_backward, ("weight_hidden", "bias_candidate"))
GRU_BEFORE = Kernel(gru_before, gru_before_backward)
