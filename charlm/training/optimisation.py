"""The global gradient norm, and copies of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients down together so that their global norm is at most ``max_norm``.

    Pascanu et al. (2013); Dive into Deep Learning, section 8.5.5.

    Args:
        max_norm: 0: the gradients are left as they are.

    Returns:
        The norm before clipping. If it is not finite, the gradients are left as they are.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    if 0 < max_norm < norm < float("inf"):
        torch._foreach_mul_(gradients, max_norm / norm)
    return norm


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights, on the CPU, by name; tied ones once."""
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
    }
