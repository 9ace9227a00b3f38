"""How much of the text before a character the prediction of a language model uses.

Letters in the shape comments: T characters of the text, N positions in it, K characters of context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.tasks.language_model.model import LanguageModel

DISTANCES = (1, 2, 3, 5, 10, 20, 50, 100)
WHOLE = 250  # characters that count as the whole context
POSITIONS = 300
ENOUGH = 1.01  # times the bits with the whole context


@dataclass(frozen=True)
class Context:
    """The mean bits of the next character with less and less of the text before it."""

    positions: int  # N
    length: int  # characters of the whole context
    whole: float  # bits with all of it
    distances: list[int]
    cut: list[float]  # bits with the last k characters alone, for each distance k
    shuffled: list[float]  # with those before the last k in random order

    @property
    def enough(self) -> int | None:
        """The smallest distance with which the bits are at most 1% above those of the whole."""
        pairs = zip(self.distances, self.cut, strict=True)
        return next((k for k, bits in pairs if bits <= ENOUGH * self.whole), None)


def context(
    model: LanguageModel,
    ids: Tensor,
    *,
    distances: Sequence[int] = DISTANCES,
    positions: int = POSITIONS,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Context:
    """Bits of the next character with the last k characters alone, or the others shuffled.

    Cutting shows what the characters before the last k are worth. Shuffling them shows what their
    order is worth, when the model still sees which ones they are. Source: Khandelwal, He, Qi and
    Jurafsky (2018), "Sharp nearby, fuzzy far away: how neural language models use context",
    arXiv:1805.04623, sections 3 and 4.

    The whole context is 250 characters, or fewer in a short text; the state before it is zero.

    Args:
        model: in either mode. Its mode and weights do not change.
        ids: (T,) integers, T >= 3.
        positions: N, spread evenly over the text; a short text may have fewer.
        seed: of the shuffling.

    Raises:
        Stopped: ``should_stop`` returned True.
        ValueError: there are fewer than three characters.
    """
    if len(ids) < 3:
        raise ValueError("this needs at least three characters")
    length = min(WHOLE, (len(ids) - 1) // 2)
    ends = torch.linspace(length, len(ids) - 1, min(positions, len(ids) - length))
    ends = ends.double().round().long()  # (N,) of the predicted characters
    device = model.head.weight.device
    contexts = ids[ends + torch.arange(-length, 0).unsqueeze(1)].long()  # (K, N)
    targets = ids[ends].long().to(device)
    generator = torch.Generator().manual_seed(seed)

    def bits(read: Tensor) -> float:
        """The mean over the positions, given (K, N) ids before them."""
        if should_stop():
            raise Stopped
        read = read.to(device)
        with torch.no_grad(), evaluating(model):
            state = model.initial_state(len(ends))
            if len(read) > 1:
                state = model.read(read[:-1], state)
            logits, _ = model(read[-1:], state)
        logs = logits[0].double().log_softmax(1)
        return -float(logs.gather(1, targets.unsqueeze(1)).mean()) / math.log(2)

    used = [k for k in distances if k < length]
    cut, shuffled = [], []
    for k in used:
        before, last = contexts[:-k], contexts[-k:]
        order = torch.rand(before.shape, generator=generator).argsort(0)
        cut.append(bits(last))
        shuffled.append(bits(torch.cat([before.gather(0, order), last])))
    return Context(len(ends), length, bits(contexts), used, cut, shuffled)
