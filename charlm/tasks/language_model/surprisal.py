"""How much each character of a text surprises a model, and what it had expected instead.

Surprisal is the information of a character, -log2 of its probability (Shannon 1948).

Letters in the shape comments: T characters of the text, K likely characters, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.corpus.vocabulary import UNKNOWN, Vocabulary
from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.tasks.language_model.baselines import LEARNED, NGRAM_ORDERS, best_of
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.ngram import Floats, Ids, NGram

LIKELY = 10  # characters of each distribution that are kept
BLOCK = 512  # characters that are read at once


class Surprisal(NamedTuple):
    """The bits of each character of a text. The first has none, because it is not predicted."""

    text: str  # T characters
    bits: Floats  # (T,) of the model; NaN for the first
    ngram: Floats | None  # (T,) of the n-gram, likewise; None: there is none
    likely: NDArray[np.int64]  # (T, K) ids of the characters that the model expects most, in order
    probabilities: Floats  # (T, K) of them

    def most(self, gains: Floats, number: int) -> list[int]:
        """The places with the highest of some (T,) values, the highest first."""
        order = np.argsort(-np.nan_to_num(gains, nan=-math.inf), kind="stable")
        return [place for place in order[:number].tolist() if place > 0]


def count_ngrams(train: Ids, vocabulary: Vocabulary, boundary: int | None = None) -> NGram:
    """The n-grams of a training text, up to the order of the baselines.

    Args:
        train: (N,) ids; the last `LEARNED` of them are counted.
        boundary: the id of a line end, if each line is an example.
    """
    last = train[max(0, len(train) - LEARNED) :]
    return NGram.count(last, len(vocabulary), NGRAM_ORDERS, boundary)


def surprisal(
    model: LanguageModel,
    vocabulary: Vocabulary,
    ids: Ids,
    text: str,
    ngram: NGram | None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Surprisal:
    """The surprisal of each character, given those before it.

    Args:
        ids: (T,) of the text, T >= 2.
        text: its characters.
        ngram: of the training text, as of `count_ngrams`; the order that is best here is taken.
            None: there is none.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    read = torch.from_numpy(np.asarray(ids, np.int64)).to(model.head.weight.device)
    count = min(LIKELY, model.vocabulary_size)
    bits, likely = [torch.full((1,), math.nan)], [torch.zeros(1, count, dtype=torch.int64)]
    probabilities = [torch.full((1, count), math.nan)]
    state = model.initial_state(1)
    with torch.no_grad(), evaluating(model):
        for begin in range(0, len(ids) - 1, BLOCK):
            if should_stop():
                raise Stopped
            part = read[begin : begin + BLOCK + 1]
            logits, state = model(part[:-1].unsqueeze(1), state)
            logs = logits[:, 0].float().log_softmax(1)  # (block, V)
            most = logs.topk(count)
            bits.append(-logs.gather(1, part[1:].unsqueeze(1))[:, 0].cpu() / math.log(2))
            likely.append(most.indices.cpu())
            probabilities.append(most.values.exp().cpu())
    # An unknown character costs <unk> and its spelling, as everywhere.
    spelled = np.where(np.asarray(ids) == UNKNOWN, vocabulary.spelling_nats, 0.0) / math.log(2)
    ngram_bits = None
    if ngram is not None:
        _, nats = best_of(ngram.predict(ids).nats)
        ngram_bits = np.insert(nats / math.log(2), 0, math.nan) + spelled
    return Surprisal(
        text,
        torch.cat(bits).double().numpy() + spelled,
        ngram_bits,
        torch.cat(likely).numpy(),
        torch.cat(probabilities).double().numpy(),
    )
