"""Whole sequences of a Mogrifier on the CPU; `charlm.recurrent.kernels` explains kernels.

With v_0 = x and v_1 = h, round i is v_(i+1) = g_i * v_(i-1), where g_i = 2 sigmoid(v_i Q_i). Gates
and values are only multiplied, so they have the type of the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from charlm.recurrent.kernels import Kernel, Results, Steps


def mogrifier(
    lengths: Sequence[int],
    steps: Steps,
    x: Tensor,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    weight_input: Tensor,
    bias: Tensor,
    *matrices: Tensor,
) -> Results:
    """`charlm.recurrent.mogrifier.MogrifierCell`.

    Args:
        lengths: the number of matrices whose product is Q_i, for each round.
    """
    units = len(weight)
    states_kept, cell_states = steps.states(first), steps.states(first_cell)
    hidden, cells = steps.outputs(states_kept), steps.after(cell_states)
    gates, low = steps.kept(4 * units), steps.low_states(states_kept)
    projected, product = (steps.low_empty(len(first), 4 * units) for _ in range(2))
    x, weight, weight_input, bias = map(steps.low, (x, weight, weight_input, bias))
    copied = steps.copies(hidden, steps.after(low))
    values, rounds = [steps.each(x), steps.before(low)], []
    kept = [low, gates, cell_states, x]
    for chain in _grouped([steps.low(each) for each in matrices], lengths):
        buffers = [steps.low_like(steps.kept(matrix.shape[1])) for matrix in chain]
        rounds.append([*zip(chain, map(steps.each, buffers), strict=True)])
        buffers.append(torch.empty_like(buffers[-1]))
        values.append(steps.each(buffers[-1]))
        kept += buffers
    inputs, states = _last_two(values)
    projections, products = steps.each(projected), steps.each(product)
    p_, (m_, g_) = steps.inputs(projected, 4), steps.views(product, gates, gates=4)
    c_, h_ = steps.views(cells, hidden)
    before_ = steps.view_before(cell_states)
    for t in range(len(steps.sizes)):
        for i, chain in enumerate(rounds, 1):
            gate = values[i][t]
            for matrix, out in chain:
                gate = torch.mm(gate, matrix, out=out[t])
            torch.mul(gate.sigmoid_().mul_(2), values[i - 1][t], out=values[i + 1][t])
        torch.addmm(bias, inputs[t], weight_input, out=projections[t])
        torch.mm(states[t], weight, out=products[t])
        steps.pointwise.lstm(p_, steps.firsts[t], m_[t], before_[t], g_[t], c_[t], h_[t])
        copied(t)
    return [hidden, steps.last(hidden), steps.last(cells)], kept


def mogrifier_backward(
    lengths: Sequence[int],
    steps: Steps,
    first: Tensor,
    first_cell: Tensor,
    weight: Tensor,
    weight_input: Tensor,
    bias: Tensor,
    *rest: Any,
) -> list[Tensor]:
    """The gradients of `mogrifier`."""
    *matrices, kept, by_outputs, (by_last, by_last_cell) = rest
    low, gates, cell_states, x, *buffers = kept
    cells = steps.after(cell_states)
    kept_rounds = _grouped(buffers, [length + 1 for length in lengths])
    values = [x, None, *(each[-1] for each in kept_rounds)]  # None: the states before
    by_gates, by_x = steps.low_empty(*gates.shape), torch.empty_like(x)
    by_later, by_cell = steps.low(by_last, copy=True), by_last_cell.clone()
    from_input, from_state = steps.low(weight_input.t()), steps.low(weight.t())
    values_ = [steps.before(low) if each is None else steps.each(each) for each in values]
    rounds, by_rounds = [], []
    for chain, (*sums, _) in zip(_grouped(matrices, lengths), kept_rounds, strict=True):
        by_sums = [torch.empty_like(each) for each in sums]
        back = zip([steps.low(each.t()) for each in chain], map(steps.each, by_sums), strict=True)
        rounds.append((steps.each(sums[-1]), [*back][::-1]))
        by_rounds.append(by_sums)
    by_ = [steps.each(by_x), steps.each(by_later)]
    sources = steps.each(by_gates)
    g_, d_ = steps.views(gates, by_gates, gates=4)
    c_, go_, gl_, gc_ = steps.views(cells, by_outputs, by_later, by_cell)
    before_ = steps.view_before(cell_states)
    for t in reversed(range(len(steps.sizes))):
        compute = steps.pointwise.lstm_backward
        compute(g_[t], before_[t], c_[t], go_[t], gl_[t], gc_[t], d_[t])
        torch.mm(sources[t], from_input, out=by_[0][t])
        torch.mm(sources[t], from_state, out=by_[1][t])
        for i in range(len(rounds), 0, -1):
            by_value, (gate_, chain) = by_[(i + 1) % 2][t], rounds[i - 1]
            gate = gate_[t]
            by_sum = (by_value * values_[i - 1][t]).mul_(gate)  # the slope of 2 sigmoid is
            torch.addcmul(by_sum, by_sum, gate, value=-0.5, out=chain[0][1][t])  # g (1 - g / 2)
            by_value.mul_(gate)
            for (matrix, by_product), (_, by_through) in pairwise(chain):
                torch.mm(by_product[t], matrix, out=by_through[t])
            matrix, by_product = chain[-1]
            by_[i % 2][t].addmm_(by_product[t], matrix)

    before = steps.rows_before(low)

    def by_weight(value: Tensor | None, by_product: Tensor) -> Tensor:
        return steps.weight_gradients((before if value is None else value, by_product))

    inputs, states = _last_two(values)
    found = [by_weight(states, by_gates), by_weight(inputs, by_gates)]
    found.append(by_gates.sum(0, dtype=steps.dtype))
    for value, (*sums, _), by_sums in zip(values[1:], kept_rounds, by_rounds, strict=False):
        found += map(by_weight, [value, *sums], by_sums)
    return [by_x, by_later, by_cell, *found]


def _grouped(tensors: Sequence[Any], lengths: Sequence[int]) -> list[Sequence[Any]]:
    """The tensors, cut into groups of these lengths."""
    return [tensors[end - n : end] for n, end in zip(lengths, accumulate(lengths), strict=True)]


def _last_two(values: Sequence[Any]) -> tuple[Any, Any]:
    """The input and the state after the last round: values with even and odd numbers."""
    last = len(values) - 1
    return values[last - last % 2], values[last - 1 + last % 2]


def mogrifier_kernel(rounds: Sequence[Sequence[str]]) -> Kernel:
    """The kernel of a Mogrifier whose rounds have the matrices of these names."""
    lengths = [len(names) for names in rounds]
    names = [name for names in rounds for name in names]
    return Kernel(
        partial(mogrifier, lengths),
        partial(mogrifier_backward, lengths),
        ("weight_hidden", "weight_input", "bias", *names),
        looks_up=False,
    )
