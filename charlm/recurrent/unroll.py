"""A cell as a layer: one step after the other."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.cell import RecurrentCell, S, WholeSequences
from charlm.recurrent.kernels import Kernel
from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import pack, unpack
from charlm.recurrent.states import map_state

KERNEL_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Unrolled(RecurrentLayer):
    """A cell over whole sequences. It projects the inputs of all steps at once.

    `by_step` says what it computes. On the CPU, the cell's kernel computes the same faster.
    """

    def __init__(self, cell: RecurrentCell[Any]) -> None:
        super().__init__()
        self.cell = cell
        self.input_size, self.output_size = cell.input_size, cell.output_size

    def initial_state(self, batch_size: int) -> Any:
        """The cell's."""
        return self.cell.initial_state(batch_size)

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, Any]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and the state after each row's last step."""
        if lengths is None:
            outputs, last = self._run(xs.flatten(0, 1), [xs.shape[1]] * len(xs), state)
            return outputs.view(*xs.shape[:2], self.output_size), last
        # Only the valid steps: the rows are sorted by length, and the shorter ones end first.
        packed = pack(xs, lengths)
        sizes = packed.batch_sizes.tolist()  # at each step, the number of rows with that step
        first = map_state(lambda tensor: tensor[packed.sorted_indices], state)
        outputs, last = self._run(packed.data, sizes, first)
        last = map_state(lambda tensor: tensor[packed.unsorted_indices], last)
        return unpack(packed._replace(data=outputs), len(xs)), last

    def _run(self, xs: Tensor, sizes: list[int], state: S) -> tuple[Tensor, S]:
        """(N, I) features or (N,) token ids, the rows of one step after those of the other."""
        projected, ids = self._projected(xs)
        kernel = self._kernel(projected, sizes)
        if isinstance(kernel, Kernel) and kernel.looks_up:
            outputs, last = kernel(projected, sizes, state, self.cell, ids)
            return outputs, type(state)(*last)
        if ids is not None:
            projected = F.embedding(ids, projected)
        if kernel is None:
            return by_step(self.cell, projected, sizes, state)
        outputs, last = kernel(projected, sizes, state, self.cell)
        return outputs, type(state)(*last)

    def _projected(self, xs: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, P) projected inputs; or those of each token, (V, P), and the ids, if 2 V <= N."""
        if xs.dtype == torch.int64 and 2 * self.cell.input_size <= len(xs):
            tokens = torch.arange(self.cell.input_size, device=xs.device)
            return self.cell.project(tokens), xs
        return self.cell.project(xs), None

    def _kernel(self, projected: Tensor, sizes: list[int]) -> WholeSequences | None:
        """What computes the steps at once, where something can.

        A single step is as fast without. Then it can also be differentiated again, and for many
        gradients at once, as `memory` does.
        """
        defines_step = next(kind for kind in type(self.cell).__mro__ if "step" in vars(kind))
        if (
            len(sizes) == 1
            or sizes[0] == 0
            or torch.compiler.is_compiling()
            or "kernel" not in vars(defines_step)
        ):
            return None
        if projected.device.type != "cpu":
            return self.cell.parallel()
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.half
        return None if half or projected.dtype not in KERNEL_DTYPES else self.cell.kernel()


def by_step(
    cell: RecurrentCell[S], projected: Tensor, sizes: list[int], state: S
) -> tuple[Tensor, S]:
    """One step after the other: what `Unrolled` computes.

    Args:
        projected: (N, P) projected inputs, the rows of one step after those of the other.
        sizes: (T,) the number of rows with each step: never more than before.
        state: before the first step.

    Returns:
        (N, O) outputs, and the state after each row's last step.
    """
    outputs: list[Tensor] = []
    ended: list[S] = []
    rows = sizes[0]
    for inputs in torch.split(projected, sizes):
        if len(inputs) < rows:
            rows = len(inputs)
            ended.insert(0, _rows(state, slice(rows, None)))
            state = _rows(state, slice(rows))
        output, state = cell.step(inputs, state)
        outputs.append(output)
    last = map_state(lambda *parts: torch.cat(parts), state, *ended) if ended else state
    return torch.cat(outputs), last


def _rows(state: S, rows: slice) -> S:
    return map_state(lambda tensor: tensor[rows], state)
