"""Scratch layers against torch's networks: same weights and inputs, so the same results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from charlm.recurrent.build import build_stack
from charlm.recurrent.cell import RecurrentCell
from charlm.recurrent.cells import CELLS
from charlm.recurrent.padding import pack, unpack
from charlm.recurrent.states import StackState, map_state, state_tensors
from charlm.recurrent.torch_layers import copy_from_torch, torch_weights

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""The largest difference at which results count as the same; relative for values above 1."""

STEPS, BATCH, INPUTS, HIDDEN, LAYERS = 35, 4, 28, 32, 2


@dataclass(frozen=True)
class Parity:
    """The largest absolute differences between both backends of a cell.

    Attributes:
        cell: its name, with "-bidirectional" appended for bidirectional layers.
        dtype: "float32" or "float64".
        outputs: of the outputs of all steps.
        states: of the states after the last step.
        gradients: of the gradients of all weights, the first states and the inputs.
    """

    cell: str
    dtype: str
    outputs: float
    states: float
    gradients: float

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
    """Give a scratch stack and a torch network the same weights, inputs and first state.

    Args:
        cell: a name that both backends have.
        dtype: of weights and inputs.
        seed: of weights and inputs.
        bidirectional: compare bidirectional layers, on rows of unequal lengths.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    sizes: dict[str, Any] = {
        "input_size": INPUTS,
        "hidden_size": HIDDEN,
        "num_layers": LAYERS,
        "bidirectional": bidirectional,
    }
    stack = build_stack(cell, "scratch", **sizes, dropout=0.0, weight_dropout=0.0).to(dtype)
    build_network = CELLS[cell].torch
    assert build_network is not None
    network: nn.Module = build_network(**sizes).to(dtype)
    for parameter in network.parameters():
        parameter.data = random(*parameter.shape) / HIDDEN**0.5
    directions = ("", "_reverse") if bidirectional else ("",)
    parts = [f"l{depth}{direction}" for depth in range(LAYERS) for direction in directions]
    # From the bottom up, forwards before backwards: the order of torch's weights and states.
    cells = [module for module in stack.modules() if isinstance(module, RecurrentCell)]
    for part, scratch in zip(parts, cells, strict=True):
        copy_from_torch(network, scratch, part)
    xs = random(STEPS, BATCH, INPUTS)
    first = map_state(lambda zeros: random(*zeros.shape), stack.initial_state(BATCH))
    weights = random(STEPS, BATCH, stack.output_size)  # a different weight for every output
    lengths = None
    if bidirectional:
        lengths = torch.randint(1, STEPS + 1, (BATCH,), generator=generator)
    found = _results(stack, xs, first, weights, lengths)
    wanted = _results(partial(_run_torch, network, len(parts)), xs, first, weights, lengths)
    for part, scratch in zip(parts, cells, strict=True):
        torchs = torch_weights(network, part)
        found.gradients.extend(_torch_gradients(scratch, torchs))
        wanted.gradients.extend(map(_gradient, torchs.values()))
    differences = [
        max(map(_difference, mine, yours)) for mine, yours in zip(found, wanted, strict=True)
    ]
    name = f"{cell}-bidirectional" if bidirectional else cell
    return Parity(name, str(dtype).removeprefix("torch."), *differences)


class _Results(NamedTuple):
    outputs: list[Tensor]
    states: list[Tensor]
    gradients: list[Tensor]


def _results(
    run: Callable[[Tensor, StackState, Tensor | None], tuple[Tensor, tuple[Any, ...]]],
    xs: Tensor,
    first: StackState,
    weights: Tensor,
    lengths: Tensor | None,
) -> _Results:
    """Outputs, final states, and the gradients of the inputs and the first states."""
    xs = xs.clone().requires_grad_()
    first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
    outputs, last = run(xs, first, lengths)
    states = state_tensors(last)
    # Sums: the gradients of means are so small that wrong ones would be within the tolerance.
    loss = (outputs * weights).sum() + sum((state**2).sum() for state in states)
    torch.autograd.backward(loss)
    return _Results([outputs], states, [_gradient(leaf) for leaf in (xs, *state_tensors(first))])


def _run_torch(
    network: nn.Module, num_parts: int, xs: Tensor, first: StackState, lengths: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Outputs and final states of a torch network, the states in the order of a stack's.

    Torch has the hidden states of all layers and directions in one tensor, the cells in another.
    """
    tensors = state_tensors(first)
    kinds = len(tensors) // num_parts
    given = tuple(torch.stack(tensors[kind::kinds]) for kind in range(kinds))
    packed = xs if lengths is None else pack(xs, lengths)
    outputs, last = network(packed, given if kinds > 1 else given[0])
    if lengths is not None:
        outputs = unpack(outputs, len(xs))
    last = last if kinds > 1 else (last,)
    return outputs, tuple(tensor for part in zip(*last, strict=True) for tensor in part)


def _torch_gradients(cell: RecurrentCell[Any], weights: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The cell's gradients as gradients of torch's weights, by way of `from_torch`."""
    own = cell.from_torch(weights)
    names, gradients = zip(*((n, _gradient(p)) for n, p in cell.named_parameters()), strict=True)
    return torch.autograd.grad([own[n] for n in names], [*weights.values()], gradients)


def _difference(mine: Tensor, yours: Tensor) -> float:
    """The largest absolute difference, divided by the largest value where that is above 1.

    Infinite where one of them is NaN.
    """
    largest = float((mine - yours).detach().abs().max())
    difference = largest / max(1.0, float(yours.detach().abs().max()))
    return math.inf if math.isnan(difference) else difference


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad
