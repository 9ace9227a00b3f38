"""Scratch layers and torch's networks side by side: same weights, same inputs, same results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charlm.recurrent.build import TORCH, build_stack
from charlm.recurrent.core import LayerState, RecurrentCell, map_state
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.padding import pack, unpack
from charlm.recurrent.stack import Stack
from charlm.recurrent.torch_layers import copy_from_torch

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""greatest difference at which results count as the same; relative where values are above 1"""

STEPS, BATCH, INPUTS, HIDDEN, LAYERS = 35, 4, 28, 32, 2


@dataclass(frozen=True)
class Agreement:
    """Greatest absolute differences between the two ways to compute a cell's layers."""

    cell: str
    """its name, with "-bidirectional" after it where both directions were compared"""
    dtype: str
    outputs: float
    states: float
    """after the last step"""
    gradients: float
    """of all weights, the first states and the inputs"""

    @property
    def agree(self) -> bool:
        """Whether all differences are within the tolerance."""
        return max(self.outputs, self.states, self.gradients) <= TOLERANCE[self.dtype]


def agreement(seed: int = 0) -> list[Agreement]:
    """Compare each cell that torch has, in float32 and float64, on the CPU."""
    return [
        compare(cell, dtype, seed, bidirectional=bidirectional)
        for bidirectional in (False, True)
        for cell in TORCH
        for dtype in (torch.float32, torch.float64)
    ]


def compare(
    cell: str, dtype: torch.dtype, seed: int = 0, *, bidirectional: bool = False
) -> Agreement:
    """Give a scratch stack and a torch network the same weights, inputs and first state.

    Args:
        cell: a name that both backends have.
        dtype: of weights and inputs.
        bidirectional: both directions, and rows of unequal lengths.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    ours = build_stack(
        cell,
        "scratch",
        input_size=INPUTS,
        hidden_size=HIDDEN,
        num_layers=LAYERS,
        bidirectional=bidirectional,
    ).to(dtype)
    theirs = TORCH[cell](INPUTS, HIDDEN, num_layers=LAYERS, bidirectional=bidirectional).to(dtype)
    for parameter in theirs.parameters():
        parameter.data = random(*parameter.shape) / HIDDEN**0.5
    directions = ("", "_reverse") if bidirectional else ("",)
    parts = [f"l{depth}{direction}" for depth in range(LAYERS) for direction in directions]
    for part, scratch in zip(parts, _cells(ours), strict=True):
        copy_from_torch(theirs, scratch, part)
    xs = random(STEPS, BATCH, INPUTS)
    first = map_state(lambda zeros: random(*zeros.shape), ours.initial_state(BATCH))
    weights = random(STEPS, BATCH, ours.output_size)  # makes every output count differently
    lengths = None
    if bidirectional:
        lengths = torch.randint(1, STEPS + 1, (BATCH,), generator=generator)
    differences = [
        max(_difference(mine, yours) for mine, yours in zip(left, right, strict=True))
        for left, right in zip(
            _results(ours, xs, first, weights, lengths),
            _results(theirs, xs, first, weights, lengths),
            strict=True,
        )
    ]
    name = f"{cell}-bidirectional" if bidirectional else cell
    return Agreement(name, str(dtype).removeprefix("torch."), *differences)


def _results(
    network: Stack | nn.RNNBase,
    xs: Tensor,
    first: tuple[LayerState, ...],
    weights: Tensor,
    lengths: Tensor | None,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs, final states, and all gradients in torch's layout."""
    xs = xs.clone().requires_grad_()
    first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
    if isinstance(network, Stack):
        outputs, last = network(xs, first, lengths)
        states = _tensors(last)
    else:
        outputs, states = _run_torch(network, xs, _tensors(first), lengths)
    # Sums: the gradients of means are so small that wrong ones would be within the tolerance.
    loss = (outputs * weights).sum() + sum((state**2).sum() for state in states)
    loss.backward()
    gradients = [_gradient(tensor) for tensor in (xs, *_tensors(first))]
    if isinstance(network, Stack):
        for cell in _cells(network):
            gradients += _in_torch_layout(cell)
    else:
        gradients += [_gradient(parameter) for parameter in network.parameters()]
    return [outputs], states, gradients


def _run_torch(
    network: nn.RNNBase, xs: Tensor, first: list[Tensor], lengths: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """Outputs and final states; torch has all hidden states in one tensor, all cells in another."""
    given: Any = torch.stack(first)
    if isinstance(network, nn.LSTM):
        given = given[::2].contiguous(), given[1::2].contiguous()
    outputs, last = network(xs if lengths is None else pack(xs, lengths), given)
    if lengths is not None:
        outputs = unpack(outputs, len(xs))
    if isinstance(network, nn.LSTM):
        return outputs, [tensor for layer in zip(*last, strict=True) for tensor in layer]
    return outputs, list(last)


def _cells(stack: Stack) -> list[RecurrentCell]:
    """From the bottom up, forwards before backwards: the order of torch's weights and states."""
    return [module for module in stack.modules() if isinstance(module, RecurrentCell)]


def _in_torch_layout(cell: RecurrentCell) -> list[Tensor]:
    """A cell's gradients as nn.RNN and its kin have them: gates first, and two biases."""
    bias = _gradient(cell.bias)
    hidden_bias = bias
    if isinstance(cell, GRUCell):
        gates = len(bias) - cell.output_size
        hidden_bias = torch.cat([bias[:gates], _gradient(cell.bias_candidate)])
    return [_gradient(cell.weight_input).T, _gradient(cell.weight_hidden).T, bias, hidden_bias]


def _difference(mine: Tensor, yours: Tensor) -> float:
    """Greatest absolute difference, as a part of the greatest value where that is above 1.

    Infinite where one is not a number, as this agrees with nothing.
    """
    greatest = float((mine - yours).detach().abs().max())
    difference = greatest / max(1.0, float(yours.detach().abs().max()))
    return math.inf if math.isnan(difference) else difference


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _tensors(state: Any) -> list[Tensor]:
    """Of a state, however it is nested, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in _tensors(part)]
