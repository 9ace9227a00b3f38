"""The optimiser, and the global gradient norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from charlm.config import TrainingConfig


def build_optimiser(config: TrainingConfig, model: nn.Module) -> Optimizer:
    """SGD without momentum, RMSprop (Tieleman and Hinton 2012), Adam or AdamW, by name.

    Weight decay leaves biases alone.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "sgd":
        return SGD(parameters, lr=config.lr)
    if config.optimiser == "rmsprop":
        return RMSprop(parameters, lr=config.lr, alpha=config.beta2, eps=1e-7)  # Keras's epsilon
    betas = (0.9, config.beta2)
    # One kernel for all weights, where torch has it.
    fused = parameters[0].device.type in ("cpu", "cuda")
    if config.optimiser == "adam":
        return Adam(parameters, lr=config.lr, betas=betas, fused=fused)
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    biases = [parameter for parameter in parameters if parameter.dim() == 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused)


@torch.no_grad()
def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients down together so that their global norm is at most ``max_norm``.

    Pascanu et al. (2013); Dive into Deep Learning, section 8.5.5.

    Args:
        max_norm: 0: leave them as they are.

    Returns:
        The norm before clipping; where it is not finite, nothing was scaled.
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
