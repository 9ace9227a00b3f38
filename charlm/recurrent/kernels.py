"""Whole sequences of a cell at once on the CPU, with gradients derived by hand.

A loop of `RecurrentCell.step` makes autograd record and allocate every operation of every step. A
kernel computes the same from a few buffers for all steps. Each step has a matrix product into a
buffer (``torch.mm(out=)``) and one pointwise function. The way back has the same two, and the
gradient of the recurrent weights is one product over all steps at the end. The loop remains the
definition: `charlm.recurrent.unroll` chooses, and tests compare the two.

numba compiles the pointwise functions (`charlm.recurrent.pointwise_numba`). Where numba cannot be
used, and in float64, they are torch operations (`charlm.recurrent.pointwise`). What was weighed:
torch's operations read and write the gates of a step a dozen times, and each call costs some
microseconds. Compiled, the pointwise part of an LSTM with 256 units and 32 rows takes 16
microseconds, a tenth of its matrix product. The products stay with torch, whose library is three
times as fast as numba's. numba compiles a function on its first use, in about half a second, and
keeps the result on the disk.

Under autocast to bfloat16, the products are in bfloat16; gates, cells, states and outputs are
float32.

Symbols: N rows of all steps together, B rows of the first step, P projected inputs, H hidden, O
output. Rows that have ended are left out, so a later step may have fewer than B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from charlm.compiled import can_compile
from charlm.recurrent import pointwise

ACTIVATIONS = {
    "tanh": pointwise.TANH,
    "relu": pointwise.RELU,
    "sigmoid": pointwise.SIGMOID,
    "linear": pointwise.LINEAR,
}


class Steps:
    """The steps of a batch, and views of buffers by step.

    Args:
        sizes: (T,) the number of rows that have each step, which never grows.
        dtype: of the states and gates.
        product_dtype: of the products with the recurrent weights.
        keep: whether what the gradients need is kept.
    """

    def __init__(
        self, sizes: Sequence[int], dtype: torch.dtype, product_dtype: torch.dtype, *, keep: bool
    ) -> None:
        self.sizes, self.dtype, self.product_dtype, self.keep = sizes, dtype, product_dtype, keep
        self.ends = list(accumulate(sizes))
        self.rows, self.batch_size = self.ends[-1], sizes[0]
        self.whole = sizes[-1] == self.batch_size  # whether all rows have all steps
        self.compiled = dtype == torch.float32 and can_compile()
        self.pointwise: Any = pointwise
        if self.compiled:
            from charlm.recurrent import pointwise_numba  # needs numba

            self.pointwise = pointwise_numba

    def empty(self, *shape: int) -> Tensor:
        """A buffer of the states' type."""
        return torch.empty(shape, dtype=self.dtype)

    def kept(self, *shape: int) -> Tensor:
        """A buffer for all steps, (N, ...), or, if nothing is kept, for one, (B, ...)."""
        return self.empty(self.rows if self.keep else self.batch_size, *shape)

    def prepared(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Contiguous projected inputs, states and weights; the latter of the states' type."""
        projected, *others = tensors
        if projected.dtype != self.product_dtype:
            projected = projected.to(self.dtype)
        return [projected.contiguous(), *(each.to(self.dtype).contiguous() for each in others)]

    def low(self, tensor: Tensor, *, copy: bool = False) -> Tensor:
        """A contiguous tensor of the products' type, which may be the given one."""
        return tensor.to(self.product_dtype, copy=copy).contiguous()

    def low_like(self, tensor: Tensor) -> Tensor:
        """A buffer like ``tensor`` of the products' type, which may be the given one."""
        return tensor if self.dtype == self.product_dtype else self.low_empty(*tensor.shape)

    def low_empty(self, *shape: int) -> Tensor:
        """A buffer of the products' type."""
        return torch.empty(shape, dtype=self.product_dtype)

    def each(self, buffer: Any) -> list[Any]:
        """The T steps of an (N, ...) buffer; or of a (B, ...) buffer, its first rows each time."""
        if len(buffer) == self.rows:
            ends = zip(self.ends, self.sizes, strict=True)
            return [buffer[end - size : end] for end, size in ends]
        if self.whole:
            return [buffer] * len(self.sizes)
        return [buffer[:size] for size in self.sizes]

    def before(self, first: Any, buffer: Any) -> list[Any]:
        """The rows before each step: those of ``first``, (B, ...), then of an (N, ...) buffer."""
        steps = [first, *self.each(buffer)[:-1]]
        if self.whole:
            return steps
        return [rows[:size] for rows, size in zip(steps, self.sizes, strict=True)]

    def copies(self, source: Tensor, target: Tensor) -> Callable[[int], object]:
        """A function that copies a step from one buffer to the other, if they are two."""
        if source is target:
            return lambda t: None
        sources, targets = self.each(source), self.each(target)
        return lambda t: targets[t].copy_(sources[t])

    def arrays(self, *tensors: Tensor) -> list[Any]:
        """Tensors as the pointwise functions take them."""
        if not self.compiled:
            return [*tensors]
        return [
            (each.view(torch.uint16) if each.dtype == torch.bfloat16 else each).detach().numpy()
            for each in tensors
        ]

    def views(self, *buffers: Tensor, gates: int = 0) -> list[list[Any]]:
        """`each` of buffers for the pointwise functions; with gates, (rows, gates, units)."""
        if gates:
            buffers = tuple(each.view(len(each), gates, -1) for each in buffers)
        return [self.each(each) for each in self.arrays(*buffers)]

    def view_before(self, first: Tensor, buffer: Tensor) -> list[Any]:
        """`before` for the pointwise functions."""
        return self.before(*self.arrays(first, buffer))

    def last(self, buffer: Tensor) -> Tensor:
        """(B, ...), the last step of each row."""
        if self.whole:
            return buffer[-self.batch_size :].clone()
        ends = zip(self.ends, self.sizes, [*self.sizes[1:], 0], strict=True)
        # Rows end from the bottom up.
        parts = [buffer[end - size + rest : end] for end, size, rest in ends if rest < size]
        return torch.cat(parts[::-1])

    def weight_gradient(self, first: Tensor, buffer: Tensor, by_product: Tensor) -> Tensor:
        """The gradient of weights whose product with the step before has ``by_product``."""
        size = self.batch_size
        rows = buffer[:-size] if self.whole else torch.cat(self.before(first, buffer)[1:])
        gradient = torch.mm(rows.t(), by_product[size:]).to(self.dtype)
        return gradient.add_(torch.mm(first.t(), by_product[:size]))


Results = tuple[list[Tensor], list[Tensor]]
"""Outputs and last states; and what the gradients need."""


@dataclass(frozen=True)
class Kernel:
    """A cell over whole sequences.

    Attributes:
        forward: takes steps, projected inputs, states and weights, and returns `Results`.
        backward: takes steps, states and weights, what the gradients need, and the gradients by
            outputs and by last states. It returns those by projected inputs, states and weights.
        weights: the names of the cell's weights.
    """

    forward: Callable[..., Results]
    backward: Callable[..., list[Tensor]]
    weights: tuple[str, ...] = ("weight_hidden",)

    def __call__(
        self, projected: Tensor, sizes: Sequence[int], state: Sequence[Tensor], cell: Any
    ) -> tuple[Tensor, list[Tensor]]:
        """All steps.

        Args:
            projected: (N, P) projected inputs, one step after the other.
            sizes: (T,) the number of rows of each step, which never grows.
            state: (B, O) each, for the rows of the first step.
            cell: has the weights.

        Returns:
            (N, O) outputs, and the (B, O) states after each row's last step.

        Raises:
            ValueError: a state has another shape.
        """
        shape = (sizes[0], cell.output_size)
        if any(tensor.shape != shape for tensor in state):
            raise ValueError(f"the states must be of shape {shape}")
        tensors = [projected, *state, *(getattr(cell, name) for name in self.weights)]
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        dtype = cell.bias.dtype
        low = torch.is_autocast_enabled("cpu") and dtype == torch.float32
        product_dtype = torch.get_autocast_dtype("cpu") if low else dtype
        steps = Steps(sizes, dtype, product_dtype, keep=keep)
        if keep:
            apply: Any = _Differentiable.apply
            outputs, *last = apply(self, steps, *tensors)
        else:
            outputs, *last = self.forward(steps, *steps.prepared(tensors))[0]
        return outputs, last


class _Differentiable(torch.autograd.Function):
    """A kernel for autograd. Its gradients cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, steps: Steps, *tensors: Tensor) -> Any:
        inputs = steps.prepared(tensors)
        results, kept = kernel.forward(steps, *inputs)
        ctx.kernel, ctx.steps, ctx.count = kernel, steps, len(tensors) - 1
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        ctx.save_for_backward(*inputs[1:], *kept)
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, by_outputs: Tensor | None, *by_last: Tensor | None) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the gradients of a recurrent kernel cannot be differentiated again; compute the "
                "sequence with charlm.recurrent.unroll.by_step"
            )
        tensors, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        first = tensors[0]  # a state; zeros of one step stand for those of all
        given = [
            torch.zeros_like(first) if each is None else each.contiguous()
            for each in (by_outputs, *by_last)
        ]
        found = ctx.kernel.backward(ctx.steps, *tensors, kept, given[0], given[1:])
        gradients = (each.to(dtype) for each, dtype in zip(found, ctx.dtypes, strict=True))
        return None, None, *gradients


def elman(activation: int, steps: Steps, x: Tensor, first: Tensor, weight: Tensor) -> Results:
    """`charlm.recurrent.elman.ElmanCell`."""
    hidden, product = steps.empty(steps.rows, len(weight)), steps.low_empty(*first.shape)
    low = steps.low_like(hidden)
    first, weight = steps.low(first), steps.low(weight)
    multiplied, copied = steps.before(first, low), steps.copies(hidden, low)
    products = steps.each(product)
    views = zip(*steps.views(x, product, hidden), strict=True)
    for t, (x_t, m_t, h_t) in enumerate(views):
        torch.mm(multiplied[t], weight, out=products[t])
        steps.pointwise.activate(activation, x_t, m_t, h_t)
        copied(t)
    return [hidden, steps.last(hidden)], [hidden, low]


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
    hidden, low = kept
    back = steps.low(weight.t())
    by_x, by_later = steps.low_empty(*hidden.shape), steps.low(by_last[0], copy=True)
    products, sources = steps.each(by_later), steps.each(by_x)
    views = zip(*steps.views(hidden, by_outputs, by_later, by_x), strict=True)
    for t, arrays in reversed([*enumerate(views)]):
        steps.pointwise.activate_backward(activation, *arrays)
        torch.mm(sources[t], back, out=products[t])
    return [by_x, by_later, steps.weight_gradient(steps.low(first), low, by_x)]


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
    hidden, outputs = steps.kept(weight.shape[1]), steps.empty(steps.rows, len(weight))
    low_hidden, low = steps.low_like(hidden), steps.low_like(outputs)
    first, weight, to_output = map(steps.low, (first, weight, weight_output))
    product, output_product = steps.low_empty(len(first), weight.shape[1]), first.clone()
    multiplied = steps.before(first, low)
    copied_hidden, copied = steps.copies(hidden, low_hidden), steps.copies(outputs, low)
    products, output_products, units = map(steps.each, (product, output_product, low_hidden))
    bias = bias_output.expand(len(first), -1).contiguous()
    x_, m_, h_, b_, n_, y_ = steps.views(x, product, hidden, bias, output_product, outputs)
    activate = steps.pointwise.activate
    for t in range(len(steps.sizes)):
        torch.mm(multiplied[t], weight, out=products[t])
        activate(pointwise.TANH, x_[t], m_[t], h_[t])
        copied_hidden(t)
        torch.mm(units[t], to_output, out=output_products[t])
        activate(activation, b_[t], n_[t], y_[t])
        copied(t)
    return [outputs, steps.last(outputs)], [outputs, low, hidden, low_hidden]


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
    outputs, low, hidden, low_hidden = kept
    back, output_back = steps.low(weight.t()), steps.low(weight_output.t())
    by_x, by_sums = steps.low_empty(*hidden.shape), steps.low_empty(*outputs.shape)
    by_later = steps.low(by_last[0], copy=True)
    by_hidden = steps.low_empty(len(first), hidden.shape[1])
    nothing = torch.zeros_like(by_hidden, dtype=steps.dtype)
    products, sources = steps.each(by_later), steps.each(by_x)
    hidden_products, output_sources = steps.each(by_hidden), steps.each(by_sums)
    y_, go_, gl_, ds_ = steps.views(outputs, by_outputs, by_later, by_sums)
    h_, no_, gh_, d_ = steps.views(hidden, nothing, by_hidden, by_x)
    differentiate = steps.pointwise.activate_backward
    for t in reversed(range(len(steps.sizes))):
        differentiate(activation, y_[t], go_[t], gl_[t], ds_[t])
        torch.mm(output_sources[t], output_back, out=hidden_products[t])
        differentiate(pointwise.TANH, h_[t], no_[t], gh_[t], d_[t])
        torch.mm(sources[t], back, out=products[t])
    return [
        by_x,
        by_later,
        steps.weight_gradient(steps.low(first), low, by_x),
        torch.mm(low_hidden.t(), by_sums),
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


PEEPHOLES = ("peephole_input", "peephole_forget", "peephole_output")
LSTM = Kernel(lstm, lstm_backward)
LSTM_PEEPHOLE = Kernel(lstm, lstm_backward, ("weight_hidden", *PEEPHOLES))
GRU_AFTER = Kernel(gru_after, gru_after_backward, ("weight_hidden", "bias_candidate"))
GRU_BEFORE = Kernel(gru_before, gru_before_backward)
