"""The kernels of `charlm.recurrent.elman` and `charlm.recurrent.jordan`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from charlm.recurrent import pointwise
from charlm.recurrent.kernels import Kernel, Results, Steps

ACTIVATIONS = {
    "tanh": pointwise.TANH,
    "relu": pointwise.RELU,
    "sigmoid": pointwise.SIGMOID,
    "linear": pointwise.LINEAR,
}


def elman(activation: int, steps: Steps, x: Tensor, first: Tensor, weight: Tensor) -> Results:
    """`charlm.recurrent.elman.ElmanCell`."""
    states, product = steps.states(first), steps.low_empty(*first.shape)
    low, weight = steps.low_states(states), steps.low(weight)
    hidden = steps.outputs(states)
    multiplied, copied = steps.before(low), steps.copies(hidden, steps.after(low))
    products, inputs = steps.each(product), steps.inputs(x, 1)
    views = zip(steps.chosen, *steps.views(product, hidden), strict=True)
    for t, (chosen, m_t, h_t) in enumerate(views):
        torch.mm(multiplied[t], weight, out=products[t])
        steps.pointwise.activate(activation, inputs, chosen, m_t, h_t)
        copied(t)
    return [hidden, steps.last(hidden)], [states, low]


def elman_backward(
    activation: int,
    steps: Steps,
    first: Tensor,
    weight: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `elman`."""
    states, low = kept
    hidden, back = steps.after(states), steps.low(weight.t())
    by_sums, by_later = steps.low_empty(*hidden.shape), steps.low(by_last[0], copy=True)
    products, sources = steps.each(by_later), steps.each(by_sums)
    by_x, added = steps.additions(by_sums, 1)
    views = zip(*steps.views(hidden, by_outputs, by_later, by_sums), strict=True)
    for t, arrays in reversed([*enumerate(views)]):
        steps.pointwise.activate_backward(activation, *arrays)
        added(t)
        torch.mm(sources[t], back, out=products[t])
    return [by_x, by_later, steps.weight_gradients((steps.rows_before(low), by_sums))]


def jordan(
    activation: int,
    steps: Steps,
    x: Tensor,
    first: Tensor,
    weight: Tensor,
    weight_output: Tensor,
    bias_output: Tensor,
) -> Results:
    """`charlm.recurrent.jordan.JordanCell`."""
    hidden, states = steps.kept(weight.shape[1]), steps.states(first)
    low_hidden, low = steps.low_like(hidden), steps.low_states(states)
    outputs = steps.outputs(states)
    weight, to_output = steps.low(weight), steps.low(weight_output)
    product, output_product = (steps.low_empty(len(first), n) for n in reversed(weight.shape))
    multiplied = steps.before(low)
    copied_hidden = steps.copies(hidden, low_hidden)
    copied = steps.copies(outputs, steps.after(low))
    products, output_products, units = map(steps.each, (product, output_product, low_hidden))
    bias = bias_output.expand(len(first), -1).contiguous()
    inputs, biases = steps.inputs(x, 1), steps.inputs(bias, 1)
    m_, h_, n_, y_ = steps.views(product, hidden, output_product, outputs)
    activate = steps.pointwise.activate
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        activate(pointwise.TANH, inputs, steps.chosen[t], m_[t], h_[t])
        copied_hidden(t)
        torch.mm(units[t], to_output, out=output_products[t])
        activate(activation, biases, steps.firsts[t], n_[t], y_[t])
        copied(t)
    return [outputs, steps.last(outputs)], [states, low, hidden, low_hidden]


def jordan_backward(
    activation: int,
    steps: Steps,
    first: Tensor,
    weight: Tensor,
    weight_output: Tensor,
    bias_output: Tensor,
    kept: Sequence[Tensor],
    by_outputs: Tensor,
    by_last: Sequence[Tensor],
) -> list[Tensor]:
    """The gradients of `jordan`."""
    states, low, hidden, low_hidden = kept
    outputs = steps.after(states)
    back, output_back = steps.low(weight.t()), steps.low(weight_output.t())
    by_units, by_sums = steps.low_empty(*hidden.shape), steps.low_empty(*outputs.shape)
    by_later = steps.low(by_last[0], copy=True)
    by_hidden = steps.low_empty(len(first), hidden.shape[1])
    nothing = torch.zeros_like(by_hidden, dtype=steps.dtype)
    products, sources = steps.each(by_later), steps.each(by_units)
    by_x, added = steps.additions(by_units, 1)
    hidden_products, output_sources = steps.each(by_hidden), steps.each(by_sums)
    y_, go_, gl_, ds_ = steps.views(outputs, by_outputs, by_later, by_sums)
    h_, no_, gh_, d_ = steps.views(hidden, nothing, by_hidden, by_units)
    differentiate = steps.pointwise.activate_backward
    for t in reversed(range(len(steps.sizes))):
        differentiate(activation, y_[t], go_[t], gl_[t], ds_[t])
        torch.mm(output_sources[t], output_back, out=hidden_products[t])
        differentiate(pointwise.TANH, h_[t], no_[t], gh_[t], d_[t])
        added(t)
        torch.mm(sources[t], back, out=products[t])
    return [
        by_x,
        by_later,
        steps.weight_gradients((steps.rows_before(low), by_units)),
        steps.weight_gradients((low_hidden, by_sums)),
        by_sums.sum(0, dtype=steps.dtype),
    ]


def elman_kernel(nonlinearity: str) -> Kernel:
    """The kernel of an Elman network with a nonlinearity of `ElmanCell`."""
    activation = ACTIVATIONS[nonlinearity]
    return Kernel(partial(elman, activation), partial(elman_backward, activation))


def jordan_kernel(activation: str) -> Kernel | None:
    """The kernel of a Jordan network, or None for softmax."""
    if activation not in ACTIVATIONS:
        return None
    number = ACTIVATIONS[activation]
    weights = ("weight_hidden", "weight_output", "bias_output")
    return Kernel(partial(jordan, number), partial(jordan_backward, number), weights)
