"""Scratch and torch layers side by side: same weights, same inputs, same results."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.recurrent.build import SCRATCH, TORCH
from charlm.recurrent.core import RecurrentCell, StackState, map_state
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.stack import Stack
from charlm.recurrent.torch_layers import TorchLayer, copy_from_torch
from charlm.recurrent.unroll import Unrolled

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
"""greatest difference at which results count as the same; relative where values are above 1"""

STEPS, BATCH, INPUTS, HIDDEN, LAYERS = 35, 4, 28, 32, 2


@dataclass(frozen=True)
class Agreement:
    """Greatest absolute differences between the two layers of a cell."""

    cell: str
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
        compare(cell, dtype, seed) for cell in TORCH for dtype in (torch.float32, torch.float64)
    ]


def compare(cell: str, dtype: torch.dtype, seed: int = 0) -> Agreement:
    """Give a scratch stack and a torch stack the same weights, inputs and first state.

    Args:
        cell: a name that both backends have.
        dtype: of weights and inputs.
    """
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    inputs = [INPUTS] + [HIDDEN] * (LAYERS - 1)
    ours = Stack(Unrolled(SCRATCH[cell](size, HIDDEN)) for size in inputs).to(dtype)
    theirs = Stack(TorchLayer(TORCH[cell](size, HIDDEN)) for size in inputs).to(dtype)
    for parameter in theirs.parameters():
        parameter.data = random(*parameter.shape) / HIDDEN**0.5
    for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
        assert isinstance(our_layer, Unrolled)
        assert isinstance(their_layer, TorchLayer)
        copy_from_torch(their_layer.network, our_layer.cell)
    xs = random(STEPS, BATCH, INPUTS)
    first = map_state(lambda zeros: random(*zeros.shape), ours.initial_state(BATCH))
    weights = random(STEPS, BATCH, HIDDEN)  # makes every output count differently
    differences = [
        max(_difference(mine, yours) for mine, yours in zip(left, right, strict=True))
        for left, right in zip(
            _results(ours, xs, first, weights), _results(theirs, xs, first, weights), strict=True
        )
    ]
    return Agreement(cell, str(dtype).removeprefix("torch."), *differences)


def _results(
    stack: Stack, xs: Tensor, first: StackState, weights: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs, final states, and all gradients in torch's layout."""
    xs = xs.clone().requires_grad_()
    first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
    outputs, last = stack(xs, first)
    states = _tensors(last)
    # Sums: the gradients of means are so small that wrong ones would be within the tolerance.
    loss = (outputs * weights).sum() + sum((state**2).sum() for state in states)
    loss.backward()
    gradients = [_gradient(tensor) for tensor in (xs, *_tensors(first))]
    for layer in stack.layers:
        if isinstance(layer, Unrolled):
            gradients += _in_torch_layout(layer.cell)
        else:
            gradients += [_gradient(parameter) for parameter in layer.parameters()]
    return [outputs], states, gradients


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


def _tensors(state: StackState) -> list[Tensor]:
    return [tensor for layer_state in state for tensor in layer_state]
