"""Scratch layers against torch's networks: same weights and inputs, so the same results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from charlm.recurrent.build import build_stack
from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.cells import CELLS
from charlm.recurrent.padding import pack, unpack
from charlm.recurrent.states import StackState, map_state, state_tensors
from charlm.recurrent.torch_layers import run_network, torch_weights

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""The largest difference at which results count as the same; relative for values above 1."""

STEPS, BATCH, INPUTS, HIDDEN, LAYERS = 35, 4, 28, 32, 2


@dataclass(frozen=True)
class Parity:
    """The largest absolute differences between both backends of a cell."""

    cell: str  # its name, with "-bidirectional" appended for bidirectional layers
    dtype: str  # "float32" or "float64"
    outputs: float  # of all steps
    states: float  # after the last step
    gradients: float  # of all weights, the first states and the inputs

    @property
    def agree(self) -> bool:
        """Whether all differences are within the tolerance."""
        return max(self.outputs, self.states, self.gradients) <= TOLERANCE[self.dtype]


def compare_all(seed: int) -> list[Parity]:
    """Compare both backends of each cell that torch has, in float32 and float64, on the CPU."""
    return [
        compare(cell, dtype, seed, bidirectional=bidirectional)
        for bidirectional in (False, True)
        for cell, kind in CELLS.items()
        if kind.torch
        for dtype in (torch.float32, torch.float64)
    ]


def compare(cell: str, dtype: torch.dtype, seed: int, *, bidirectional: bool) -> Parity:
    """Compare a scratch stack and a torch network with the same weights, inputs and first state.

    Bidirectional layers are compared on rows of unequal lengths.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    sizes: dict[str, Any] = {"input_size": INPUTS, "hidden_size": HIDDEN}
    sizes |= {"num_layers": LAYERS, "bidirectional": bidirectional}
    stack = build_stack(cell, "scratch", **sizes, dropout=0.0, weight_dropout=0.0).to(dtype)
    build_network = CELLS[cell].torch
    assert build_network is not None
    network: nn.Module = build_network(**sizes).to(dtype)
    for parameter in network.parameters():
        parameter.data = random(*parameter.shape) / HIDDEN**0.5
    directions = ("", "_reverse") if bidirectional else ("",)
    parts = [f"l{depth}{direction}" for depth in range(LAYERS) for direction in directions]
    # From the bottom up, forwards before backwards: the order of torch's weights and states.
    cells = [each for each in stack.named_modules() if isinstance(each[1], RecurrentCell)]
    own = {  # functions of torch's weights, so that both backends have gradients of these
        f"{place}.{name}": weight.contiguous()
        for (place, scratch), part in zip(cells, parts, strict=True)
        for name, weight in scratch.from_torch(torch_weights(network, part)).items()
    }
    xs = random(STEPS, BATCH, INPUTS).requires_grad_()
    zeros = stack.initial_state(BATCH)
    first = map_state(lambda tensor: random(*tensor.shape).requires_grad_(), zeros)
    factors = random(STEPS, BATCH, stack.output_size)  # a different one for every output
    lengths = None
    if bidirectional:
        lengths = torch.randint(1, STEPS + 1, (BATCH,), generator=generator)
    ours = functional_call(stack, own, (xs, first, lengths), strict=True)
    torchs = _run_torch(network, len(parts), xs, first, lengths)
    leaves = [xs, *state_tensors(first), *network.parameters()]
    found, wanted = (_results(run, factors, leaves) for run in (ours, torchs))
    differences = [max(map(_difference, *pair)) for pair in zip(found, wanted, strict=True)]
    name = f"{cell}-bidirectional" if bidirectional else cell
    return Parity(name, str(dtype).removeprefix("torch."), *differences)


def _results(
    run: tuple[Tensor, tuple[Any, ...]], factors: Tensor, leaves: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs, final states, and the gradients of the leaves."""
    outputs, states = run[0], state_tensors(run[1])
    # Sums: the gradients of means are so small that wrong ones would be within the tolerance.
    loss = (outputs * factors).sum() + sum((state**2).sum() for state in states)
    return [outputs], states, list(torch.autograd.grad(loss, leaves))


def _run_torch(
    network: nn.Module, num_parts: int, xs: Tensor, first: StackState, lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs and final states of a torch network, the states in the order of a stack's.

    Torch has the hidden states of all layers and directions in one tensor, the cells in another.
    """
    tensors = state_tensors(first)
    kinds = len(tensors) // num_parts
    given = [torch.stack(tensors[kind::kinds]) for kind in range(kinds)]
    outputs, last = run_network(network, xs if lengths is None else pack(xs, lengths), given)
    if lengths is not None:
        outputs = unpack(outputs, len(xs))
    return outputs, tuple(tensor for part in zip(*last, strict=True) for tensor in part)


def _difference(mine: Tensor, yours: Tensor) -> float:
    """The largest difference, divided by the largest value if that is above 1; infinite for NaN."""
    largest = float((mine - yours).detach().abs().max())
    difference = largest / max(1.0, float(yours.detach().abs().max()))
    return math.inf if math.isnan(difference) else difference
