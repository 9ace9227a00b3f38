"""The cross-entropy of an output layer without the logits of a whole batch in memory.

N predictions, H outputs of the recurrent layers, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charlm.tasks.language_model.batches import PADDING

# Measured on a CPU by `python -m benchmarks tables vocabulary`:
ROWS = 256  # predictions in a chunk
LEAST_VOCABULARY = 512  # below it, all logits at once are as fast, and they are few


def output_loss(outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """``cross_entropy_sum(linear(outputs, weight, bias), targets)``, chunk by chunk.

    Loss and gradients are computed together, for 256 predictions at a time. So there are never more
    than 256 V logits, and as many probabilities, in memory. Under autocast the products are in its
    type, and the rest in float32.

    Args:
        outputs: (N, H).
        weight: (V, H).
        bias: (V,).
        targets: (N,) int64; ``PADDING`` where nothing is predicted.

    Returns:
        The sum in nats. It cannot be differentiated twice.
    """
    inputs = (outputs, weight, bias, targets, torch.is_grad_enabled())
    loss: Tensor = _OutputLoss.apply(*inputs)  # type: ignore[no-untyped-call]
    return loss


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, training: bool
    ) -> Tensor:
        device = outputs.device.type
        dtype = outputs.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        wanted = [training and needed for needed in ctx.needs_input_grad[:3]]
        gradients = [
            torch.zeros_like(tensor) if needed else None
            for tensor, needed in zip((outputs, weight, bias), wanted, strict=True)
        ]
        loss = bias.new_zeros(())
        matrix, offset = weight.to(dtype), bias.to(dtype)
        logits = matrix.new_empty(min(ROWS, len(outputs)), len(weight))
        probabilities = torch.empty_like(logits, dtype=bias.dtype)
        exact = dtype == bias.dtype
        wide = logits if exact else torch.empty_like(probabilities)
        for first in range(0, len(outputs), ROWS):
            chunk = slice(first, first + ROWS)
            rows, ids = outputs[chunk].to(dtype), targets[chunk].unsqueeze(1)  # (R, H), (R, 1)
            scored = (ids != PADDING).to(bias.dtype)
            ids = ids.clamp(min=0)
            size = len(rows)
            scores = torch.addmm(offset, rows, matrix.T, out=logits[:size])
            scores = scores if exact else wide[:size].copy_(scores)
            chances = torch.softmax(scores, 1, out=probabilities[:size])  # (R, V)
            # The largest probability is not 0, so its logarithm gives the sum of exp(scores).
            log_sum = scores.amax(1, keepdim=True) - chances.amax(1, keepdim=True).log()
            loss += ((log_sum - scores.gather(1, ids)) * scored).sum()
            if not any(wanted):
                continue
            # The gradient of the logits: the probabilities, minus 1 at the target.
            errors = chances.scatter_add_(1, ids, -scored).mul_(scored)
            of_outputs, of_weight, of_bias = gradients
            if of_bias is not None:
                of_bias += errors.sum(0)
            errors = errors if exact else logits[:size].copy_(errors)
            if of_outputs is not None:
                of_outputs[chunk] = errors @ matrix
            if of_weight is not None and exact:
                of_weight.addmm_(errors.T, rows)
            elif of_weight is not None:
                of_weight += errors.T @ rows
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if each is None else each * gradient for each in ctx.saved_tensors)
        return (*scaled, None, None)
