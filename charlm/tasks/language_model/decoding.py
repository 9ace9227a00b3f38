"""Decoding: from logits to characters, greedily or by temperature, top-k and top-p sampling."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.compiled import can_compile
from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import RunError, UsageError
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import StackState, map_state, state_tensors
from charlm.recurrent.stepping import Weights, stack_weights, state_array
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.model import LanguageModel

if TYPE_CHECKING:
    from charlm.tasks.language_model.mixture import Mixture

ROWS = 64  # lines that are written side by side
LONG = 2_000  # steps from which loading compiled functions pays
MANY = 10  # groups of lines from which it pays
_BLOCK = 10_000  # characters of a prefix that are read at once, which bounds the memory
_BLOCK_SECONDS = 0.02  # blocks of a text grow until they take as long
_COMPILED = "charlm.tasks.language_model.decoding_numba"


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

        For each row, a number u is drawn uniformly from 0 to 1. The id is the first one whose
        probability together with those of all lower ids is above u. The CPU draws the numbers, so
        a seed gives the same ids on every device.

        Raises:
            RunError: a logit is not finite.
        """
        if not logits.isfinite().all():
            raise _not_finite()
        probabilities = self.probabilities(logits.cpu())
        if self.temperature == 0:
            return probabilities.argmax(1)
        sums = probabilities.cumsum(1)
        uniform = _uniform(1, len(logits), generator).T  # (B, 1)
        return torch.searchsorted(sums, uniform * sums[:, -1:], right=True).squeeze(1)


def _uniform(steps: int, rows: int, generator: torch.Generator) -> Tensor:
    """(T, B) float64 from 0 to 1; several calls give the numbers of one call for all steps."""
    return torch.rand(steps, rows, dtype=torch.float64, generator=generator)


def _not_finite() -> RunError:
    return RunError(
        "the model's logits are not finite", "the weights are unusable: train a new model"
    )


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
    blocks = generate_blocks(
        model, prefix, length=length, decoding=decoding, num_samples=num_samples, seed=seed
    )
    for block in blocks:
        yield from block


@torch.no_grad()
def generate_blocks(
    model: LanguageModel,
    prefix: Sequence[int] | NDArray[np.int64],
    *,
    length: int,
    decoding: Decoding,
    num_samples: int,
    seed: int,
    many: bool = False,
    mixture: Mixture | None = None,
) -> Iterator[Tensor]:
    """The token ids of `generate`, several steps at a time: (T, B) int64.

    Long texts of a small model on the CPU are written by compiled functions. The arguments and
    errors are those of `generate`.

    Args:
        many: more texts will follow, so that compiled functions are worth loading.
        mixture: of the model and an n-gram, which then chooses the characters; None: the model.
    """
    if len(prefix) == 0:
        raise UsageError("the prefix is empty", "give at least one character with --prefix")
    if model.vocabulary_size < 2:
        raise UsageError("the vocabulary is empty: there is no character to choose")
    generator = torch.Generator().manual_seed(seed)
    for after in read_prefix(model, prefix):
        logits, state = after
    logits = logits.expand(num_samples, -1)
    state = map_state(lambda tensor: tensor.expand(num_samples, -1).contiguous(), state)
    contexts: list[list[int]] = []
    if mixture is not None:
        contexts = [mixture.start(prefix)] * num_samples
    elif many or length >= LONG or _COMPILED in sys.modules:
        weights = compiled_weights(model)
        if weights is not None:
            yield from _write(weights, logits, state, length, decoding, generator)
            return
    growing = choices(model, logits, state, decoding, generator, mixture, contexts)
    for _, chosen in itertools.islice(growing, length):
        yield chosen.unsqueeze(0)


@torch.no_grad()
def read_prefix(
    model: LanguageModel, prefix: Sequence[int] | NDArray[np.int64], block: int = _BLOCK
) -> Iterator[tuple[Tensor, StackState]]:
    """The (1, V) logits of the next character and the state after each block of a prefix."""
    state = model.initial_state(1)
    for start in range(0, len(prefix), block):
        ids = torch.tensor(prefix[start : start + block], device=model.head.weight.device)
        with evaluating(model):
            logits, state = model(ids.unsqueeze(1), state)
        yield logits[-1], state


@torch.no_grad()
def choices(
    model: LanguageModel,
    logits: Tensor,
    state: StackState,
    decoding: Decoding,
    generator: torch.Generator,
    mixture: Mixture | None = None,
    contexts: list[list[int]] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The characters that continue B texts, without end; errors as in `Decoding.choose`.

    Args:
        logits, state: (B, V) and the state after the texts so far.
        mixture, contexts: as in `generate_blocks`, and its contexts of the texts so far.

    Yields:
        (B, V) logits of the next characters, of the mixture if there is one, and the (B,) int64
        ids that were chosen.
    """
    while True:
        odds = logits if mixture is None else mixture.logits(logits, contexts or [])
        chosen = decoding.choose(odds, generator)
        yield odds, chosen
        if mixture is not None:
            pairs = zip(contexts or [], chosen.tolist(), strict=True)
            contexts = [mixture.ngram.read(context, token) for context, token in pairs]
        with evaluating(model):
            outputs, state = model(chosen.to(logits.device).unsqueeze(0), state)
        logits = outputs[-1]


class CompiledWeights(NamedTuple):
    """The weights of a language model, as `decoding_numba.write` takes them."""

    stack: Weights
    embedding: NDArray[np.float32]  # (V, E) of a model with n-grams, else (0, 0)
    table: NDArray[np.float32]  # of the n-grams; not a copy
    head: NDArray[np.float32]  # (H, V); with n-grams (H + E, V)
    bias: NDArray[np.float32]  # (V,)


@torch.no_grad()
def compiled_weights(model: LanguageModel) -> CompiledWeights | None:
    """Copies of a model's weights; None: compiled functions cannot write its texts."""
    fit = all(
        each.device.type == "cpu" and each.dtype is torch.float32 for each in model.parameters()
    )
    if not fit or not can_compile():
        return None
    ngrams = model.ngrams
    vectors = None if model.embedding is None else model.embedding.weight
    stack = stack_weights(model.stack, vectors, vectors=ngrams is not None)
    if stack is None:
        return None
    head, bias = model.head.weight.T.contiguous().numpy(), model.head.bias.numpy().copy()
    if ngrams is None or vectors is None:
        none = np.empty((0, 0), np.float32)
        return CompiledWeights(stack, none, none, head, bias)
    return CompiledWeights(stack, vectors.numpy().copy(), ngrams.table.numpy(), head, bias)


def _write(
    weights: CompiledWeights,
    logits: Tensor,
    state: StackState,
    length: int,
    decoding: Decoding,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Blocks of (T, B) token ids, by compiled functions; arguments as in `generate_blocks`."""
    from charlm.tasks.language_model.decoding_numba import write

    rows, size = logits.shape
    values, layers = logits.contiguous().numpy().copy(), len(weights.stack.layers)
    states, previous = state_array(state[:layers]), np.empty((rows, 0), np.int64)
    if state[layers:]:  # the context of the n-grams
        previous = state_tensors(state[layers:])[0].long().numpy()
    choice = (
        float(decoding.temperature),
        min(decoding.top_k or size, size),
        1.0 if decoding.top_p is None else float(decoding.top_p),
    )
    steps = 1
    while length:
        started = time.perf_counter()
        chosen = torch.empty(min(steps, length), rows, dtype=torch.int64)
        uniforms = _uniform(len(chosen), rows, generator).numpy()
        done = write(
            *weights.stack,
            *weights[1:],
            states,
            previous,
            values,
            uniforms,
            choice,
            chosen.numpy(),
        )
        yield chosen[:done]
        if done < len(chosen):
            raise _not_finite()
        length -= done
        if time.perf_counter() - started < _BLOCK_SECONDS:
            steps *= 2


def generate_lines(
    model: LanguageModel,
    prefix: Sequence[int],
    *,
    length: int,
    decoding: Decoding = GREEDY,
    seed: int = 0,
    mixture: Mixture | None = None,
) -> Iterator[tuple[list[int], bool]]:
    """An endless sequence of lines, by a model that was trained on lines.

    Args:
        model: as in `generate`, whose errors are those of this function.
        prefix: the line end, and the first token ids of every line, if any.
        length: the largest number of token ids after the prefix.
        mixture: as in `generate_blocks`.

    Yields:
        The token ids after the prefix, without the line end, and whether the line has ended.
    """
    for number in itertools.count():
        lines: list[list[int]] = [[] for _ in range(ROWS)]
        running = {*range(ROWS)}
        blocks = generate_blocks(
            model,
            prefix,
            length=length + 1,
            decoding=decoding,
            num_samples=ROWS,
            seed=(seed + number) % 2**63,
            many=number >= MANY,
            mixture=mixture,
        )
        for step, tokens in enumerate(itertools.chain.from_iterable(map(Tensor.tolist, blocks))):
            running = {row for row in running if tokens[row] != prefix[0]}
            if not running or step == length:
                break
            for row in running:
                lines[row].append(tokens[row])
        yield from ((line, row not in running) for row, line in enumerate(lines))
