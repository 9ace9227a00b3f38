"""From logits to characters: greedy, temperature, top-k and top-p."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from charlm.errors import RunError, UsageError
from charlm.models.language_model import LanguageModel
from charlm.recurrent.core import map_state

UNKNOWN = 0  # <unk> stands for no character and is never chosen


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next character is chosen.

    The filters are applied in the order temperature, top-k, top-p.
    """

    temperature: float = 1.0
    """divides the logits; 0: greedy, the most probable character"""
    top_k: int | None = None
    """only the k most probable"""
    top_p: float | None = None
    """only the most probable that together have at least this probability (Holtzman et al.
    2020)"""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"the temperature is {self.temperature}; it must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k is {self.top_k}; it must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p is {self.top_p}; it must be above 0 and at most 1")

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, V) logits to (B, V) probabilities, zero for what is left out."""
        logits = logits.to(torch.float64, copy=True)
        logits[:, UNKNOWN] = -torch.inf
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        # Highest at 0 first, so that a tiny temperature cannot make infinities of them.
        logits = (logits - logits.amax(1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[1]:
            lowest = logits.topk(self.top_k, dim=1).values[:, -1:]
            logits = logits.masked_fill(logits < lowest, -torch.inf)
        probabilities = logits.softmax(1)
        if self.top_p is not None:
            ordered, order = probabilities.sort(dim=1, descending=True)
            before = ordered.cumsum(1) - ordered
            ordered[before >= self.top_p] = 0
            probabilities = torch.zeros_like(ordered).scatter_(1, order, ordered)
        return probabilities / probabilities.sum(1, keepdim=True)

    def choose(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """(B, V) logits to (B,) int64 token ids, drawn on the CPU so that a seed says it all.

        Raises:
            RunError: a logit is not finite.
        """
        if not logits.isfinite().all():
            raise RunError(
                "the model's logits are not finite", "its weights are of no use: train it anew"
            )
        probabilities = self.probabilities(logits.cpu())
        if self.temperature == 0:
            return probabilities.argmax(1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


GREEDY = Decoding(temperature=0.0)


@torch.no_grad()
def generate(
    model: LanguageModel,
    prefix: Sequence[int],
    *,
    length: int,
    decoding: Decoding = GREEDY,
    num_samples: int = 1,
    seed: int = 0,
) -> Iterator[Tensor]:
    """Continue ``prefix``: read it from a zero state, then feed each choice back.

    With `GREEDY`, this is the book's ``predict_ch8`` (Dive into Deep Learning, section 8.5.4).

    Args:
        model: in any mode; between two steps it is in that mode.
        prefix: token ids, one at least.
        length: steps.
        num_samples: B, continuations side by side.

    Yields:
        (B,) int64 token ids, on the CPU, a step at a time.

    Raises:
        UsageError: the prefix is empty, or there is nothing to choose from.
    """
    if len(prefix) == 0:
        raise UsageError("the prefix is empty", "give at least one character with --prefix")
    if model.vocabulary_size < 2:
        raise UsageError("the vocabulary is empty: there is no character to choose")
    generator = torch.Generator().manual_seed(seed)
    training, device = model.training, model.head.weight.device
    inputs = torch.tensor(prefix, device=device).unsqueeze(1)  # (T, 1)
    model.eval()
    logits, state = model(inputs, model.initial_state(1))
    state = map_state(lambda tensor: tensor.expand(num_samples, -1).contiguous(), state)
    scores = logits[-1].expand(num_samples, -1)  # (B, V)
    for step in range(length):
        chosen = decoding.choose(scores, generator)
        if training:  # asked, since changing the mode of all modules takes a while
            model.train()
        yield chosen
        if training:
            model.eval()
        if step + 1 < length:
            logits, state = model(chosen.to(device).unsqueeze(0), state)
            scores = logits[0]
    model.train(training)
