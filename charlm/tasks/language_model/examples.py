"""Worked examples of language models that are small enough to check by hand."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import torch

from charlm.corpus import Vocabulary
from charlm.tasks.language_model.batches import Batch, Batches, consecutive_batches, random_batches
from charlm.training.loss import LossSum


class PredictedCharacter(NamedTuple):
    """A character of `perplexity_by_hand`."""

    before: str  # the character before it
    character: str
    following: int  # how often it follows that character in the text
    all_following: int  # characters of the text that follow that character
    probability: float
    nats: float  # -ln of the probability
    bits: float  # -log2 of it


class Perplexity(NamedTuple):
    """The perplexity of a text."""

    characters: list[PredictedCharacter]  # all but the first one of the text
    different: int  # different characters of the text
    nats_per_char: float
    bits_per_char: float
    perplexity: float


def perplexity_by_hand(text: str = "banana") -> Perplexity:
    """The perplexity of a text under a bigram that has counted the same text.

    ::

        P(c | b) = (count of c after b + 1) / (count of characters after b + different characters)

    One is added to each count, so that no character has the probability 0 (Laplace).
    """
    different = len(set(text))
    pairs, before = Counter(pairwise(text)), Counter(text[:-1])
    found = []
    for pair in pairwise(text):
        probability = (pairs[pair] + 1) / (before[pair[0]] + different)
        nats = -math.log(probability)
        counts = pairs[pair], before[pair[0]]
        found.append(PredictedCharacter(*pair, *counts, probability, nats, nats / math.log(2)))
    loss = LossSum(math.fsum(each.nats for each in found), len(found))
    return Perplexity(found, different, loss.mean, loss.mean / math.log(2), loss.perplexity)


class Choice(NamedTuple):
    """A choice among equally likely characters."""

    characters: int
    probability: float  # of each
    nats: float
    bits: float
    perplexity: float


def equal_choices(numbers: tuple[int, ...] = (1, 2, 4, 27)) -> list[Choice]:
    """Perplexities of predictors that always choose among k equally likely characters: k."""
    losses = (LossSum(math.log(number), 1) for number in numbers)
    return [
        Choice(number, 1 / number, loss.mean, loss.mean / math.log(2), loss.perplexity)
        for number, loss in zip(numbers, losses, strict=True)
    ]


class SampledRow(NamedTuple):
    """A row of a batch of `samplings`."""

    batch: int
    row: int
    inputs: str
    targets: str  # the character after each input
    state: str  # the characters that the state before the inputs has read; empty: it is zero


def samplings(
    text: str = "the time traveller smiled", *, batch_size: int = 2, seq_len: int = 4, seed: int = 5
) -> dict[str, list[SampledRow]]:
    """The batches of an epoch with random and with consecutive sampling.

    Dive into Deep Learning, section 8.3 (0.17). The offset of the epoch is 0.
    """
    vocabulary = Vocabulary.from_text(text)
    ids = torch.from_numpy(vocabulary.encode(text))
    generator = torch.Generator().manual_seed(seed)
    random = random_batches(ids, batch_size=batch_size, seq_len=seq_len, generator=generator)
    consecutive = consecutive_batches(ids, batch_size=batch_size, seq_len=seq_len)

    def rows(batches: Batches[Batch], carried: bool) -> list[SampledRow]:
        read = [""] * batch_size
        rows = []
        for number in range(len(batches)):
            batch = batches[number]
            for row, pair in enumerate(zip(batch.inputs.T, batch.targets.T, strict=True)):
                inputs, targets = (vocabulary.decode(part.tolist()) for part in pair)
                rows.append(SampledRow(number + 1, row + 1, inputs, targets, read[row]))
                read[row] += inputs if carried else ""
        return rows

    return {"random": rows(random, False), "consecutive": rows(consecutive, True)}
