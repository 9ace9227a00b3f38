"""Decoding: from logits to characters, greedily or by temperature, top-k and top-p sampling."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import RunError, UsageError
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import StackState, map_state
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.model import LanguageModel

ROWS = 64  # lines that are written side by side
_BLOCK = 10_000  # characters of a prefix that are read at once, which bounds the memory


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next character is chosen: temperature first, then top-k, then top-p.

    Characters that are equally probable rank by their id, the lowest first.

    Raises:
        UsageError: a setting is out of range.
    """

    temperature: float = 1.0  # divides the logits; 0 takes the most probable character: greedy
    top_k: int | None = None  # sample from the k most probable characters only
    top_p: float | None = None
    """Sample from the smallest set of most probable characters whose probabilities sum to at
    least p (Holtzman et al. 2020, "The curious case of neural text degeneration")."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"the temperature is {self.temperature}; it must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k is {self.top_k}; it must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p is {self.top_p}; it must be above 0 and at most 1")

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, V) logits to (B, V) float64 probabilities; the filtered characters have 0."""
        logits = logits.to(torch.float64, copy=True)
        logits[:, UNKNOWN] = -torch.inf  # it is not a character, so it is never chosen
        if self.temperature == 0:
            return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
        if self.top_k is not None:
            # No temperature changes the ranking, but a huge one rounds close logits to a tie.
            order = logits.argsort(dim=1, descending=True, stable=True)
            logits.scatter_(1, order[:, self.top_k :], -torch.inf)
        # The highest logit becomes 0 first, so that a tiny temperature does not overflow.
        logits = (logits - logits.amax(1, keepdim=True)) / self.temperature
        probabilities = logits.softmax(1)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
            before = ordered.cumsum(1) - ordered
            ordered[before >= self.top_p] = 0
            probabilities = torch.zeros_like(ordered).scatter_(1, order, ordered)
        return probabilities / probabilities.sum(1, keepdim=True)

    def choose(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """(B, V) logits to (B,) int64 token ids.

        The CPU draws them, so a seed gives the same ids on every device.

        Raises:
            RunError: a logit is not finite.
        """
        if not logits.isfinite().all():
            raise RunError(
                "the model's logits are not finite", "the weights are unusable: train a new model"
            )
        probabilities = self.probabilities(logits.cpu())
        if self.temperature == 0:
            return probabilities.argmax(1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)


GREEDY = Decoding(temperature=0.0)
SAMPLING = Decoding(temperature=TEMPERATURE, top_p=TOP_P)


@torch.no_grad()
def generate(
    model: LanguageModel,
    prefix: Sequence[int] | NDArray[np.int64],
    *,
    length: int,
    decoding: Decoding = GREEDY,
    num_samples: int = 1,
    seed: int = 0,
) -> Iterator[Tensor]:
    """The token ids that continue ``prefix``, one step at a time.

    The model reads the prefix from a zero state, then each id that was chosen. With `GREEDY` this
    is the book's ``predict_ch8`` (Dive into Deep Learning, section 8.5.4).

    Args:
        model: in either mode. It predicts in evaluation mode and is back in its own mode at every
            yield, after an error, and when the caller stops early.
        prefix: token ids, at least one, also as an array.
        num_samples: B, the number of continuations. They share one random generator.

    Yields:
        (B,) int64 token ids, on the CPU.

    Raises:
        UsageError: the prefix is empty, or the vocabulary has no character.
        RunError: a logit is not finite.
    """
    if len(prefix) == 0:
        raise UsageError("the prefix is empty", "give at least one character with --prefix")
    if model.vocabulary_size < 2:
        raise UsageError("the vocabulary is empty: there is no character to choose")
    generator = torch.Generator().manual_seed(seed)
    device = model.head.weight.device

    def read(ids: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """(T, B) token ids to the (B, V) logits after the last of them, and the state."""
        with evaluating(model):
            logits, state = model(ids, state)
        return logits[-1], state

    state = model.initial_state(1)
    for start in range(0, len(prefix), _BLOCK):
        ids = torch.tensor(prefix[start : start + _BLOCK], device=device)
        logits, state = read(ids.unsqueeze(1), state)
    logits = logits.expand(num_samples, -1)
    state = map_state(lambda tensor: tensor.expand(num_samples, -1).contiguous(), state)
    for step in range(length):
        chosen = decoding.choose(logits, generator)
        yield chosen
        if step + 1 < length:
            logits, state = read(chosen.to(device).unsqueeze(0), state)


def generate_lines(
    model: LanguageModel,
    prefix: Sequence[int],
    *,
    length: int,
    decoding: Decoding = GREEDY,
    seed: int = 0,
) -> Iterator[tuple[list[int], bool]]:
    """An endless sequence of lines, by a model that was trained on lines.

    Args:
        model: as in `generate`, whose errors are those of this function.
        prefix: the line end, and the first token ids of every line, if any.
        length: the largest number of token ids after the prefix.

    Yields:
        The token ids after the prefix, without the line end, and whether the line has ended.
    """
    for number in itertools.count():
        lines: list[list[int]] = [[] for _ in range(ROWS)]
        running = {*range(ROWS)}
        steps = generate(
            model,
            prefix,
            length=length + 1,
            decoding=decoding,
            num_samples=ROWS,
            seed=(seed + number) % 2**63,
        )
        for step, chosen in enumerate(steps):
            tokens = chosen.tolist()
            running = {row for row in running if tokens[row] != prefix[0]}
            if not running or step == length:
                break
            for row in running:
                lines[row].append(tokens[row])
        yield from ((line, row not in running) for row, line in enumerate(lines))
