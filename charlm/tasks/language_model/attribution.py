"""Which earlier characters one prediction depends on: integrated gradients.

Letters in the shape comments: T characters before the predicted one, P parts of the path, A points
of it, E the size of an input vector, N the longest n-gram, V vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from charlm.errors import Stopped
from charlm.tasks.language_model.model import LanguageModel

LENGTH = 100  # characters before a prediction
PARTS = 4  # of the path, at first
POINTS = 8  # of each part
EXACT = 0.01  # bits by which the sum over a part of the path may be wrong, for the whole path
HALVINGS = 16  # of a part
MOST = 4096  # points after which no part is halved any more
LIMIT = 2**22  # most entries of the input vectors in memory at once


@dataclass(frozen=True)
class Attribution:
    """The bits that each character before a prediction adds to its log probability."""

    bits: list[float]  # (T,) of each character; below 0: it makes the prediction less likely
    target: int  # the token id that is predicted
    with_text: float  # log2 of its probability after the text
    without: float  # log2 of its probability with the mean vector in place of each character
    points: int  # of the path, at which the gradient was computed

    @property
    def missing(self) -> float:
        """Bits by which the sum of ``bits`` falls short of ``with_text - without``."""
        return self.with_text - self.without - math.fsum(self.bits)


def attribution(
    model: LanguageModel,
    ids: Tensor,
    target: int | None = None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Attribution:
    """Integrated gradients of the log probability of the next character.

    ::

        IG_t = (x_t - m) . integral from 0 to 1 of  d log2 P(target | z_1, ..., z_T) / d z_t  da
        z_t  = m + a (x_t - m)

    x_t is the input vector of the recurrent layers, an embedding or a one-hot vector. The path
    begins at m, the mean vector of all characters, in place of each character. (From zero vectors,
    layer normalisation would magnify what is almost nothing.) The sum over t is log2 P(target | x)
    - log2 P(target | m), because the integral is over the derivative along the path
    (completeness). The same holds for each part of the path. So the error of the quadrature
    (Gauss-Legendre) is known, and a part where it is too large is halved. The vector of an n-gram
    is a part of x_t, and m has none; its bits are divided equally among its characters. Source:
    Sundararajan, Taly and Yan (2017), "Axiomatic attribution for deep networks", arXiv:1703.01365,
    section 3.

    Args:
        model: in either mode. Its mode and weights do not change.
        ids: (T,) integers, the characters before the prediction, T >= 1. The state before them is
            zero.
        target: the token id that is predicted; None: the most likely one.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    mean, vectors = _vectors(model, ids.long().to(model.head.weight.device))  # (E,), (N, T, E)
    whole = vectors.sum(0)  # (T, E)
    stack, head = copy.deepcopy((model.stack, model.head))
    stack.eval().requires_grad_(False)
    head.requires_grad_(False)

    def logs(at: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs at (A,) points of the path, (T, A, E), and (A, V) log2 probabilities."""
        read = (mean + whole.unsqueeze(1) * at.view(1, -1, 1)).requires_grad_()
        with torch.enable_grad():
            seen = stack(read, stack.initial_state(len(at)))[0][-1]
            if model.ngrams is not None:
                seen = torch.cat([seen, read[-1]], dim=-1)
            return read, head(seen).double().log_softmax(-1) / math.log(2)

    ends = logs(torch.tensor([1.0, 0.0]))[1].detach()
    chosen = int(ends[0].argmax()) if target is None else target
    nodes, weights = (torch.from_numpy(each) / 2 for each in leggauss(POINTS))  # of a width of 1
    gradient, points = torch.zeros_like(whole, dtype=torch.float64), 0
    begins = torch.arange(PARTS, dtype=torch.float64) / PARTS  # (P,)
    for halvings in range(HALVINGS + 1):
        width, wrong = 1 / PARTS / 2**halvings, []
        for some in torch.split(begins, max(1, LIMIT // whole.numel() // POINTS)):
            if should_stop():
                raise Stopped
            at = some.unsqueeze(1) + width * (nodes + 0.5)  # (P, A)
            read, found = logs(at.flatten().float())
            (slopes,) = torch.autograd.grad(found[:, chosen].sum(), read)
            sums = torch.einsum(
                "tpae,a->pte", slopes.double().view(len(ids), *at.shape, -1), weights
            )
            _, found = logs(torch.cat([some, some + width]).float())
            first, last = found[:, chosen].detach().chunk(2)
            errors = (sums * width * whole).sum((1, 2)) - (last - first)  # (P,)
            good = errors.abs() <= EXACT * max(width, 2**-6)
            good |= torch.tensor(halvings == HALVINGS or points >= MOST)
            gradient += width * sums[good].sum(0)
            wrong.append(some[~good])
            points += at.numel()
        begins = torch.cat(wrong)
        if not len(begins):
            break
        begins = torch.cat([begins, begins + width / 2])
    bits = _divided((vectors * gradient).sum(-1))
    with_text, without = ends[:, chosen].tolist()
    return Attribution(bits.tolist(), chosen, with_text, without, points)


@torch.no_grad()
def _vectors(model: LanguageModel, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The (E,) mean vector, and (T,) token ids to the (N, T, E) parts of x_t less the mean.

    The first part is of the character, and the others are of the n-grams that end with it.
    """
    if model.embedding is None:
        own = F.one_hot(ids, model.vocabulary_size).to(model.head.weight)
        mean = torch.full_like(own[0], 1 / model.vocabulary_size)
    else:
        own, mean = model.embedding(ids), model.embedding.weight.mean(0)
    own = (own - mean).unsqueeze(0)
    if model.ngrams is None:
        return mean, own
    rows, _ = model.ngrams.hashed(ids.unsqueeze(1), model.ngrams.initial_context(1))
    return mean, torch.cat([own, model.ngrams.table[rows[:, 0].T]])


def _divided(bits: Tensor) -> Tensor:
    """The (N, T) bits of the vectors to the (T,) bits of the characters in them."""
    steps = torch.arange(1, bits.shape[1] + 1, device=bits.device)
    divided = torch.zeros_like(bits[0])
    for n, each in enumerate(bits, start=1):
        shares = each / steps.clamp(max=n)  # at the start an n-gram has fewer characters
        for back in range(min(n, len(shares))):
            divided[: len(divided) - back] += shares[back:]
    return divided
