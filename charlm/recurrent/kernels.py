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
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from charlm.compiled import can_compile
from charlm.recurrent import pointwise


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
