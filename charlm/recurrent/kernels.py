"""Whole sequences of a cell at once on the CPU, with gradients derived by hand.

A loop of `RecurrentCell.step` makes autograd record and allocate every operation of every step. A
kernel computes the same from a few buffers for all steps. Each step has a matrix product into a
buffer (``torch.mm(out=)``) and one pointwise function. The way back has the same two, and the
gradient of the recurrent weights is one product over all steps at the end. One-hot inputs are never
made: a step looks the projected inputs of its tokens up, and adds their gradients to a table. The
loop remains the definition: `charlm.recurrent.unroll` chooses, and tests compare the two.

numba compiles the pointwise functions (`charlm.recurrent.pointwise_numba`). Where numba cannot be
used, and in float64, they are torch operations (`charlm.recurrent.pointwise`). What was weighed:
torch's operations read and write the gates of a step a dozen times, and each call costs some
microseconds. Compiled, the pointwise part of an LSTM with 256 units and 32 rows takes 16
microseconds, a tenth of its matrix product. The products stay with torch, whose library is three
times as fast as numba's. numba compiles a function on its first use, in about half a second, and
keeps the result on the disk.

Under autocast to bfloat16, the products are in bfloat16; gates, cells, states and outputs are
float32.

Symbols: N rows of all steps together, B rows of the first step, V tokens, P projected inputs, G
gates, H hidden, O output. Rows that have ended are left out, so a later step may have fewer than B.
The kernels of the cells are in ``elman_kernel.py``, ``gru_kernel.py`` and ``lstm_kernel.py``.
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
        ids: (N,) which of the projected inputs each row has; None: each row has its own.
        count: the number of projected inputs.

    Attributes:
        chosen: for each step, which projected inputs its rows have.
        firsts: for each step, its rows in a (B, ...) buffer.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        dtype: torch.dtype,
        product_dtype: torch.dtype,
        *,
        keep: bool,
        ids: Tensor | None,
        count: int,
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
        self.ids, self.count = ids, count
        self.chosen: list[Any]
        self.firsts: list[Any] = [slice(size) for size in sizes]
        if self.compiled:
            self.chosen = self.each(
                (torch.arange(self.rows) if ids is None else ids.contiguous()).numpy()
            )
            self.firsts = self.each(torch.arange(self.batch_size).numpy())
        elif ids is None:
            ends = zip(self.ends, sizes, strict=True)
            self.chosen = [slice(end - size, end) for end, size in ends]
        else:
            self.chosen = self.each(ids)

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
        count = len(self.sizes)
        if buffer.shape[0] == self.rows:
            if self.whole:
                return [*buffer.reshape((count, self.batch_size, *buffer.shape[1:]))]  # views
            ends = zip(self.ends, self.sizes, strict=True)
            return [buffer[end - size : end] for end, size in ends]
        if self.whole:
            return [buffer] * count
        return [buffer[:size] for size in self.sizes]

    def states(self, first: Tensor) -> Tensor:
        """A buffer of states, (B + N, O): ``first``, then those after each step."""
        states = self.empty(self.batch_size + self.rows, first.shape[1])
        states[: self.batch_size] = first
        return states

    def low_states(self, states: Tensor) -> Tensor:
        """The buffer of the products' type for ``states``, which may be the given one."""
        low = self.low_like(states)
        if low is not states:
            low[: self.batch_size] = states[: self.batch_size]
        return low

    def after(self, states: Tensor) -> Tensor:
        """(N, O), the states after each step, a view."""
        return states[self.batch_size :]

    def outputs(self, states: Tensor) -> Tensor:
        """`after` as outputs, which share the memory of ``states``, but are no view for autograd.

        A view could not be changed in place by those who get the outputs.
        """
        rows = self.after(states)
        storage, offset = states.untyped_storage(), rows.storage_offset()
        return states.new_empty(0).set_(storage, offset, rows.shape, rows.stride())

    def before(self, states: Any) -> list[Any]:
        """The states before each step, from `states`."""
        if self.whole:
            return self.each(states[: self.rows])
        starts = [0, *(self.batch_size + end for end in [0, *self.ends[:-2]])]
        return [states[at : at + size] for at, size in zip(starts, self.sizes, strict=False)]

    def copies(self, source: Tensor, target: Tensor) -> Callable[[int], object]:
        """A function that copies a step from one (N, ...) buffer to the other, if they are two."""
        if source.data_ptr() == target.data_ptr():
            return lambda t: None
        sources, targets = self.each(source), self.each(target)
        return lambda t: targets[t].copy_(sources[t])

    def additions(
        self, by_gates: Tensor, gates: int, skip: int = 0
    ) -> tuple[Tensor, Callable[[int], object]]:
        """The gradient by the projected inputs, and a function that adds a step's to it.

        Args:
            by_gates: (N, G * H), the gradients by the gates of each row, G = ``gates``.
            skip: the number of first gates that the input has no part in.
        """
        by_x = by_gates[:, skip * (by_gates.shape[1] // gates) :]
        if self.ids is None:
            return by_x, lambda t: None
        total = torch.zeros(self.count, by_x.shape[1], dtype=self.dtype)
        (rows,) = self.views(by_gates, gates=gates)
        (sums,) = self.arrays(total.view(self.count, gates - skip, -1))
        add, chosen = self.pointwise.add_rows, self.chosen
        return total, lambda t: add(rows[t], skip, chosen[t], sums)

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

    def view_before(self, states: Tensor) -> list[Any]:
        """`before` for the pointwise functions."""
        return self.before(*self.arrays(states))

    def inputs(self, projected: Tensor, gates: int) -> Any:
        """Projected inputs for the pointwise functions, (..., G, H)."""
        return self.arrays(projected.view(len(projected), gates, -1))[0]

    def last(self, buffer: Tensor) -> Tensor:
        """(B, ...), the last step of each row."""
        if self.whole:
            return buffer[-self.batch_size :].clone()
        ends = zip(self.ends, self.sizes, [*self.sizes[1:], 0], strict=True)
        # Rows end from the bottom up.
        parts = [buffer[end - size + rest : end] for end, size, rest in ends if rest < size]
        return torch.cat(parts[::-1])

    def rows_before(self, states: Tensor) -> Tensor:
        """(N, O), the states before each step."""
        return states[: self.rows] if self.whole else torch.cat(self.before(states))

    def weight_gradients(self, *parts: tuple[Tensor, Tensor]) -> Tensor:
        """The gradient by a matrix, from all its products together.

        A part of the matrix's columns has the (N, O) rows that it multiplies, and the gradient by
        its products, (N, columns).
        """
        widths = [by_product.shape[1] for _, by_product in parts]
        gradient = self.low_empty(parts[0][0].shape[1], sum(widths))
        columns = torch.split(gradient, widths, dim=1)
        for (rows, by_product), out in zip(parts, columns, strict=True):
            torch.mm(rows.t(), by_product, out=out)
        return gradient.to(self.dtype)


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
        looks_up: whether it takes the projected inputs of all tokens, and ids.
    """

    forward: Callable[..., Results]
    backward: Callable[..., list[Tensor]]
    weights: tuple[str, ...] = ("weight_hidden",)
    looks_up: bool = True

    def __call__(
        self,
        projected: Tensor,
        sizes: Sequence[int],
        state: Sequence[Tensor],
        cell: Any,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """All steps.

        Args:
            projected: (N, P) projected inputs, one step after the other; or with ``ids``, those of
                each token, (V, P).
            sizes: (T,) the number of rows of each step, which never grows.
            state: (B, O) each, for the rows of the first step.
            cell: has the weights.
            ids: (N,) token ids, which pick their rows of ``projected``, if the kernel ``looks_up``.

        Returns:
            (N, O) outputs, and the (B, O) states after each row's last step.

        Raises:
            IndexError: an id is not below V.
            ValueError: a state has another shape.
        """
        if ids is not None:
            least, most = (int(each) for each in torch.aminmax(ids))
            if least < 0 or most >= len(projected):  # compiled functions do not check
                raise IndexError(f"the token ids must be from 0 to {len(projected) - 1}")
        shape = (sizes[0], cell.output_size)
        if any(tensor.shape != shape for tensor in state):
            raise ValueError(f"the states must be of shape {shape}")
        tensors = [projected, *state, *(getattr(cell, name) for name in self.weights)]
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        dtype = cell.bias.dtype
        low = torch.is_autocast_enabled("cpu") and dtype == torch.float32
        product_dtype = torch.get_autocast_dtype("cpu") if low else dtype
        steps = Steps(sizes, dtype, product_dtype, keep=keep, ids=ids, count=len(projected))
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
        # The outputs may share the memory of what is kept; saved too, a change in place is noticed.
        ctx.save_for_backward(*inputs[1:], *kept, results[0])
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, by_outputs: Tensor | None, *by_last: Tensor | None) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "the gradients of a recurrent kernel cannot be differentiated again; compute the "
                "sequence with charlm.recurrent.unroll.by_step"
            )
        tensors, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count : -1]
        first = tensors[0]  # a state; zeros of one step stand for those of all
        given = [
            torch.zeros_like(first) if each is None else each.contiguous()
            for each in (by_outputs, *by_last)
        ]
        found = ctx.kernel.backward(ctx.steps, *tensors, kept, given[0], given[1:])
        gradients = (each.to(dtype) for each, dtype in zip(found, ctx.dtypes, strict=True))
        return None, None, *gradients
