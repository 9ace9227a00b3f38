"""What a text costs without a neural network: the numbers that a trained model has to beat.

Every baseline learns from the training text alone and is scored on the same characters as the
model: of a text of M ids the first is given as context and the other M - 1 are predicted.

Letters in the shape comments: N training ids, M ids of the scored text, V vocabulary,
G distinct n-grams of one order in the training text.
"""

from __future__ import annotations

import lzma
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.errors import CorpusError

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # D1, D2, D3+ in counts; KenLM's --discount_fallback
MAX_XZ_DICTIONARY = 1536 * 2**20  # bytes; the largest window that the xz encoder accepts


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The score of one baseline.

    Attributes:
        name: "uniform", "unigram", "ngram" or "xz".
        nats_per_char: mean cost of a predicted character, in nats.
        detail: how it was computed, in a few words for the reader of a table.
    """

    name: str
    nats_per_char: float
    detail: str

    @property
    def perplexity(self) -> float:
        """``exp(nats_per_char)``: among how many equally likely characters it hesitates."""
        return math.exp(self.nats_per_char)

    @property
    def bits_per_char(self) -> float:
        """``nats_per_char / ln 2``."""
        return self.nats_per_char / math.log(2)


def baselines(
    train: Ids,
    text: Ids,
    vocabulary_size: int,
    *,
    train_text: str,
    scored_text: str,
    max_order: int = 6,
) -> dict[str, Baseline]:
    """Score uniform, unigram, n-gram and xz on the characters ``text[1:]``.

    The order of the n-gram is the one that scores best on the evaluated text itself. This favours
    the baseline, a little: a model that beats it has beaten every order.

    Args:
        train: (N,) ids of the training text; may be empty.
        text: (M,) ids of the text to be scored, M >= 2.
        vocabulary_size: V; all ids lie in [0, V), and V counts ``<unk>``, as the model's does.
        train_text: the characters of ``train``, for xz.
        scored_text: the characters of ``text``, for xz.
        max_order: the longest n-gram to try, in characters, >= 1.

    Returns:
        The baselines by name, from the weakest kind to the strongest, xz last.

    Raises:
        CorpusError: ``text`` has fewer than two characters.
        ValueError: an id lies outside the vocabulary, or ``max_order`` is below 1.
    """
    _check(train, text, vocabulary_size, max_order)
    by_order = kneser_ney(train, text, vocabulary_size, max_order).mean(axis=1)  # (max_order,)
    order = int(by_order.argmin()) + 1
    scores = (
        ("uniform", math.log(vocabulary_size), f"{vocabulary_size} characters, equally likely"),
        ("unigram", unigram(train, text, vocabulary_size).mean(), "character counts, add-one"),
        (
            "ngram",
            by_order[order - 1],
            f"modified Kneser-Ney, order {order}, the best here of 1 to {max_order}",
        ),
        ("xz", xz(train_text, scored_text) / (len(text) - 1), "xz -9e after the training text"),
    )
    return {
        name: Baseline(name=name, nats_per_char=max(0.0, float(nats)), detail=detail)
        for name, nats, detail in scores  # max: where every character is certain, rounding
    }


def _check(train: Ids, text: Ids, vocabulary_size: int, max_order: int) -> None:
    if len(text) < 2:
        raise CorpusError(
            f"a text of {len(text)} characters leaves nothing to predict",
            "score a text of at least two characters",
        )
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, not {max_order}")
    for name, ids in (("train", train), ("text", text)):
        if len(ids) and not 0 <= ids.min() <= ids.max() < vocabulary_size:
            raise ValueError(f"{name} has ids outside [0, {vocabulary_size})")


def unigram(train: Ids, text: Ids, vocabulary_size: int) -> Floats:
    """Nats of each of ``text[1:]`` by its share of the training text, with add-one smoothing.

        P(w) = (c(w) + 1) / (N + V)                                     (Laplace)

    Returns:
        (M - 1,) nats.
    """
    counts = np.bincount(train, minlength=vocabulary_size)  # (V,)
    return np.asarray(np.log(len(train) + vocabulary_size) - np.log(counts[text[1:]] + 1))


def xz(train_text: str, text: str) -> float:
    """Nats that ``text`` adds to the xz file of the training text.

        ln 2 * 8 * (bytes of xz(train_text + text) - bytes of xz(train_text))

    The compressor is primed with the training text, as the other baselines are, and its window
    holds all of both texts (up to 1.5 GiB, the format's limit), so nothing of it is forgotten.
    Unlike the others it keeps learning while it reads ``text``, and it also pays for the first
    character. Both texts in UTF-8; ``-9 --extreme``; takes some 20 bytes of memory per byte.
    """
    prefix = train_text.encode("utf-8", "surrogatepass")
    whole = prefix + text.encode("utf-8", "surrogatepass")
    lzma2: dict[str, Any] = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": min(max(len(whole), 4096), MAX_XZ_DICTIONARY),
    }
    with ThreadPoolExecutor() as pool:  # lzma lets go of the interpreter: two cores, half the time
        files = pool.map(lambda data: lzma.compress(data, filters=[lzma2]), (prefix, whole))
        before, after = map(len, files)
    return 8 * math.log(2) * (after - before)


def kneser_ney(train: Ids, text: Ids, vocabulary_size: int, max_order: int) -> Floats:
    """Nats of each of ``text[1:]`` under n-gram models of the orders 1 to ``max_order``.

    Interpolated modified Kneser-Ney (Chen & Goodman, "An empirical study of smoothing techniques
    for language modeling", Computer Speech & Language 13, 1999, pages 359-394). With h the
    n - 1 characters before w, and h' the same without its first:

        P(w | h) = (c(h w) - D(c(h w)) + sum_v D(c(h v)) P(w | h')) / sum_v c(h v)

    * The highest order has the raw counts; a lower order has for c(g) the number of distinct
      characters seen before g, where the beginning of the training text counts as one.
    * D is 0, D1, D2 or D3+ for a count of 0, 1, 2 or more; see ``_discounts``.
    * Below order 1 stands the uniform distribution 1 / V, so no id has probability 0.
    * A context without a follower in the training text leaves P(w | h) = P(w | h').
    * At the beginning of ``text``, where i < n - 1 characters precede w, order i + 1 is used.
    * ``train`` is one long sequence: lines have no boundary symbols of their own.

    Each n-gram is stood for by its rank among those of its order, so a pair (prefix, character)
    fits one int64 as ``rank * V + id`` whatever the order; counting is one sort per order.

    Args:
        train: (N,) ids in [0, V); may be empty.
        text: (M,) ids in [0, V), M >= 1.
        vocabulary_size: V.
        max_order: the longest n-gram, in characters, >= 1.

    Returns:
        (max_order, M - 1) nats; row n - 1 is order n.
    """
    size = len(text)
    nats = np.empty((max_order, size - 1))
    highest = lower = np.full(size, 1 / vocabulary_size)  # (M,) P of each of text
    ranks = np.zeros(size + 1, np.int64)  # of order 0: the one empty n-gram, at every place
    for n, grams in enumerate(_count_grams(train, vocabulary_size, max_order), start=1):
        contexts = ranks[:-1]  # (M - n + 1,), as all below: places with n - 1 ids before them
        ranks = _ranks_of(contexts * vocabulary_size + text[n - 1 :], grams.keys)
        raw, continuation = (
            _interpolate(grams, counts, contexts, ranks, lower[n - 1 :])
            for counts in (grams.raw, grams.continuation)
        )
        highest = np.append(highest[: n - 1], raw)
        lower = np.append(lower[: n - 1], continuation)
        nats[n - 1] = -np.log(highest[1:])
    return nats


class _Grams(NamedTuple):
    """The distinct n-grams of one order in the training text."""

    keys: Ids  # (G,) rank of the prefix, its first n - 1 characters, * V + last id; ascending
    prefixes: Ids  # (G,) rank of the prefix
    num_prefixes: int  # distinct (n - 1)-grams
    raw: Ids  # (G,) how often
    continuation: Ids  # (G,) after how many distinct characters; zeros at the highest order


def _count_grams(train: Ids, vocabulary_size: int, max_order: int) -> list[_Grams]:
    """The n-grams of ``train``, order 1 first."""
    orders: list[_Grams] = []
    previous = np.zeros(len(train) + 1, np.int64)  # ranks of the (n - 1)-grams, place by place
    for n in range(1, max_order + 1):
        num_prefixes = len(orders[-1].keys) if orders else 1
        keys, ranks, raw = np.unique(
            previous[:-1] * vocabulary_size + train[n - 1 :],
            return_inverse=True,
            return_counts=True,
        )
        if orders:  # each distinct n-gram is one distinct left neighbour of its suffix
            suffixes = np.empty(len(keys), np.int64)
            suffixes[ranks] = previous[1:]
            left = np.bincount(np.append(suffixes, previous[:1]), minlength=num_prefixes)
            orders[-1] = orders[-1]._replace(continuation=left)
        prefixes = keys // vocabulary_size
        orders.append(_Grams(keys, prefixes, num_prefixes, raw, np.zeros_like(raw)))
        previous = ranks
    return orders


def _ranks_of(wanted: Ids, keys: Ids) -> Ids:
    """The place of each wanted key among the sorted keys, -1 where it is not among them."""
    left = np.searchsorted(keys, wanted)
    return np.where(np.searchsorted(keys, wanted, side="right") > left, left, -1)


def _interpolate(grams: _Grams, counts: Ids, contexts: Ids, ranks: Ids, lower: Floats) -> Floats:
    """P(w | h) at each of K places of the text; the equation stands in ``kneser_ney``.

    Args:
        grams: the n-grams h w.
        counts: (G,) their c(h w).
        contexts: (K,) the rank of h at each place, -1 where it was never seen.
        ranks: (K,) the rank of h w at each place, -1 where it was never seen.
        lower: (K,) P(w | h').
    """
    discounts = _discounts(counts)[np.minimum(counts, 3)]  # (G,)
    total, freed = (  # (K,); the appended 0 is what rank -1 finds
        np.append(np.bincount(grams.prefixes, weights, minlength=grams.num_prefixes), 0)[contexts]
        for weights in (counts, discounts)
    )
    kept = np.append(counts - discounts, 0)[ranks]
    return np.where(total > 0, (kept + freed * lower) / np.maximum(total, 1), lower)


def _discounts(counts: Ids) -> Floats:
    """(0, D1, D2, D3+) from n_i, the number of n-grams that are counted i times.

        Y = n1 / (n1 + 2 n2),  D_i = i - (i + 1) Y n_(i+1) / n_i

    Where one of n1 to n4 is 0, or a D_i outside (0, i], the order takes ``FALLBACK_DISCOUNTS``.
    Every D_i is above 0, so every context passes some probability on to the lower order.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=5)
    if n[1:5].all():
        i = np.arange(1, 4)
        discounts = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
        if (discounts > 0).all():
            return np.append(0, discounts)
    return np.array([0, *FALLBACK_DISCOUNTS])
