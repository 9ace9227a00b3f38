"""The global gradient norm, and copies of the weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def dense_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that there are; of a sparse one, the tensor of the rows that it has."""
    found = []
    for each in parameters:
        if each.grad is not None and each.grad.is_sparse:
            each.grad = each.grad.coalesce()
            found.append(each.grad.values())
        elif each.grad is not None:
            found.append(each.grad)
    return found


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """The global norm of all gradients together, a tensor without dimensions."""
    return nn.utils.get_total_norm(gradients)


@torch.no_grad()
def scale_gradients(gradients: list[Tensor], factor: float) -> None:
    """Multiply all gradients by one factor, in place, to clip them (Pascanu et al. 2013)."""
    torch._foreach_mul_(gradients, factor)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU, by name; tied weights appear once."""
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
    }
