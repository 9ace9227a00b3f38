"""Terms that are added to the loss of a language model in training.

Symbols in shapes: T steps, B batch, V vocabulary, E embedding, O output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.tasks.language_model.batches import PADDING


def add_gradient(loss: Tensor, penalty: Tensor, targets: Tensor) -> Tensor:
    """A summed loss with the gradient of a penalty per character, but without its value.

    So the training metric stays that of the loss alone.

    Args:
        targets: those of the loss; the penalty counts as often as there are characters to predict.
    """
    count = (targets != PADDING).sum()
    return loss + count * (penalty - penalty.detach())


def activation_penalty(outputs: Tensor, dropped: Tensor, *, norm: float, change: float) -> Tensor:
    """Activation and temporal activation regularisation.

    ::

        norm * mean(d_t^2) + change * mean((h_(t+1) - h_t)^2)

    The means are over steps, rows and units, as in the authors' code; the paper has the L2 norms.
    Merity, McCann and Socher (2017), "Revisiting activation regularization for language RNNs",
    arXiv:1708.01009.

    Args:
        outputs: h, (T, B, O), of the top layer.
        dropped: d, the same after output dropout.
    """
    penalty = norm * dropped.float().square().mean()
    if change and len(outputs) > 1:
        penalty = penalty + change * (outputs[1:] - outputs[:-1]).float().square().mean()
    return penalty


def add_activation_gradient(
    loss: Tensor,
    outputs: Tensor,
    dropped: Tensor,
    targets: Tensor,
    *,
    norm: float,
    change: float,
) -> Tensor:
    """`add_gradient` with `activation_penalty`, without computing the penalty itself.

    The arguments are those of both.
    """
    count = (targets != PADDING).sum()
    apply: Callable[..., Tensor] = _ActivationGradient.apply
    return apply(loss, outputs, dropped, count, norm, change)


class _ActivationGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: Tensor,
        outputs: Tensor,
        dropped: Tensor,
        count: Tensor,
        norm: float,
        change: float,
    ) -> Tensor:
        ctx.save_for_backward(outputs, dropped, count)
        ctx.weights = norm, change
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        outputs, dropped, count = ctx.saved_tensors
        norm, change = ctx.weights
        factor = 2 * gradient * count
        by_dropped = dropped * (norm * factor / dropped.numel())
        by_outputs = None
        if change and len(outputs) > 1:
            steps = outputs[1:] - outputs[:-1]
            steps *= change * factor / steps.numel()
            by_outputs = torch.empty_like(outputs)
            torch.neg(steps[0], out=by_outputs[0])
            torch.sub(steps[:-1], steps[1:], out=by_outputs[1:-1])
            by_outputs[-1] = steps[-1]
        return gradient, by_outputs, by_dropped, None, None, None


class PastDecoder(nn.Module):
    """Past-decode regularisation: the last character from the distribution of the next one.

    ::

        p   = softmax(logits)
        q   = softmax(tanh(p W A + a) W^T + b)
        the penalty is the mean of -ln q[x]

    W is the embedding, (V, E), x (T, B) the last characters, A (E, E), a (E,) and b (V,).
    Brahma (2018), "Improved language modeling by decoding the past", arXiv:1808.05908.
    """

    def __init__(self, vocabulary_size: int, embedding_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_size, embedding_size)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, logits: Tensor, embedding: Tensor, last: Tensor) -> Tensor:
        """The penalty, in nats per character.

        Args:
            logits: (T, B, V) of the next characters.
            embedding: W.
            last: (T, B) ids; ``PADDING`` where there is none.
        """
        expected = F.softmax(logits.float(), dim=-1) @ embedding
        past = F.linear(torch.tanh(self.hidden(expected)), embedding, self.bias)
        return F.cross_entropy(past.flatten(0, 1).float(), last.flatten())
