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
    hidden, gates = steps.empty(steps.rows, units), steps.kept(4 * units)
    product, low = steps.low_empty(len(first), 3 * units), steps.low_like(hidden)
    before_ = steps.view_before(first, hidden)
    first, weight = steps.low(first), steps.low(weight)
    multiplied, copied = steps.before(first, low), steps.copies(hidden, low)
    products = steps.each(product)
    x_, m_ = steps.views(x, product, gates=3)
    (g_,), (h_,) = steps.views(gates, gates=4), steps.views(hidden)
    (bias,) = steps.arrays(bias_candidate)
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        steps.pointwise.gru_after(x_[t], m_[t], bias, before_[t], g_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden)], [hidden, low, gates]


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
    (hidden, low, gates), units = kept, len(weight)
    # By q, r, z, n: the first three are by the product, the last three by the projected input.
    by_gates = steps.low_empty(*gates.shape)
    by_product, by_x = by_gates[:, : 3 * units], by_gates[:, units:]
    back = steps.low(weight.roll(units, dims=1).t())
    by_later, direct = steps.low(by_last[0], copy=True), torch.zeros_like(first)
    products, sources = steps.each(by_later), steps.each(by_product)
    g_, d_ = steps.views(gates, by_gates, gates=4)
    go_, gl_, gd_ = steps.views(by_outputs, by_later, direct)
    before_ = steps.view_before(first, hidden)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.gru_after_backward
        compute(g_[t], before_[t], go_[t], gl_[t], gd_[t], d_[t])
        torch.mm(sources[t], back, out=products[t])
    by_weight = steps.weight_gradient(steps.low(first), low, by_product).roll(-units, dims=1)
    by_bias = by_gates[:, :units].sum(0, dtype=steps.dtype)
    return [by_x, by_later + direct, by_weight, by_bias]


def gru_before(steps: Steps, x: Tensor, first: Tensor, weight: Tensor) -> Results:
    """`charlm.recurrent.gru.GRUCell` with the reset before the product."""
    units = len(weight)
    hidden, gates = steps.empty(steps.rows, units), steps.kept(3 * units)
    reset = steps.kept(units)  # r * h
    low, low_reset = steps.low_like(hidden), steps.low_like(reset)
    to_gates, to_candidate = (steps.low(part) for part in weight.tensor_split([2 * units], dim=1))
    by_two, by_one = steps.low_empty(len(first), 2 * units), steps.low_empty(*first.shape)
    before_ = steps.view_before(first, hidden)
    multiplied = steps.before(steps.low(first), low)
    copied, copied_reset = steps.copies(hidden, low), steps.copies(reset, low_reset)
    products, candidates, resets = map(steps.each, (by_two, by_one, low_reset))
    x_, g_ = steps.views(x, gates, gates=3)
    (m_,) = steps.views(by_two, gates=2)
    n_, r_, h_ = steps.views(by_one, reset, hidden)
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], to_gates, out=products[t])
        steps.pointwise.gru_gates(x_[t], m_[t], before_[t], g_[t], r_[t])
        copied_reset(t)
        torch.mm(resets[t], to_candidate, out=candidates[t])
        steps.pointwise.gru_candidate(x_[t], n_[t], before_[t], g_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden)], [hidden, low, gates, low_reset]


def gru_before_backward(
    steps: Steps,
    first: Tensor,
    weight: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `gru_before`."""
    (hidden, low, gates, low_reset), units = kept, len(weight)
    from_gates, from_candidate = (
        steps.low(part.t()) for part in weight.tensor_split([2 * units], dim=1)
    )
    by_x, by_reset = steps.low_empty(*gates.shape), steps.low_empty(*first.shape)
    by_gates, by_candidate = by_x.tensor_split([2 * units], dim=1)
    by_later, direct = steps.low(by_last[0], copy=True), torch.zeros_like(first)
    products, resets = steps.each(by_later), steps.each(by_reset)
    gate_sources, sources = steps.each(by_gates), steps.each(by_candidate)
    g_, d_ = steps.views(gates, by_x, gates=3)
    go_, gl_, gd_, gr_ = steps.views(by_outputs, by_later, direct, by_reset)
    before_ = steps.view_before(first, hidden)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.gru_candidate_backward
        compute(g_[t], before_[t], go_[t], gl_[t], gd_[t], d_[t])
        torch.mm(sources[t], from_candidate, out=resets[t])
        steps.pointwise.gru_gates_backward(g_[t], before_[t], gr_[t], gd_[t], d_[t])
        torch.mm(gate_sources[t], from_gates, out=products[t])
    by_gate_weights = steps.weight_gradient(steps.low(first), low, by_gates)
    by_candidate_weights = torch.mm(low_reset.t(), by_candidate).to(steps.dtype)
    by_weight = torch.cat([by_gate_weights, by_candidate_weights], dim=1)
    return [by_x, by_later + direct, by_weight]


GRU_AFTER = Kernel(gru_after, gru_after_backward, ("weight_hidden", "bias_candidate"))
GRU_BEFORE = Kernel(gru_before, gru_before_backward)
