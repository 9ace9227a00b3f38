"""Baselines without a neural network, which a trained model should beat.

Every baseline learns from the training text alone and is scored on the same characters as the
model: in a text of M ids the first is context and the other M - 1 are predicted.

Letters in the shape comments: N training ids, M ids of the scored text, V vocabulary,
G distinct n-grams of one order in the training text, K places of the scored text.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import CorpusError

Ids = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # D1, D2, D3+ in counts; KenLM's --discount_fallback
_BLOCK = 2**20  # characters that are counted at once
MAX_XZ_DICTIONARY = 1536 * 2**20  # bytes; the encoder accepts no larger window
LEARNED = 4_000_000  # characters that the n-gram and xz learn from; about ten seconds in all


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The score of one baseline."""

    name: str  # "uniform", "unigram", "ngram" or "xz"
    nats_per_char: float  # mean cross-entropy of a predicted character
    detail: str  # how the score was computed, in a few words
    known_nats_per_char: float | None = None  # without the unknown characters, if there are some
    learned_from: int = 0  # characters of the training text

    @property
    def perplexity(self) -> float:
        """``exp(nats_per_char)``: the number of equally likely characters with the same score."""
        return math.exp(self.nats_per_char)

    @property
    def bits_per_char(self) -> float:
        """``nats_per_char / ln 2``."""
        return self.nats_per_char / math.log(2)


def baselines(
    train: Ids | None,
    text: Ids,
    vocabulary_size: int,
    *,
    train_text: str,
    scored_text: str,
    max_order: int = 6,
    spelling: float = 0.0,
    boundary: int | None = None,
    scored: NDArray[np.bool_] | None = None,
) -> dict[str, Baseline | None]:
    """The scores of uniform, unigram, n-gram and xz on the characters ``text[1:]``.

    The n-gram has the order that scores best on ``text`` itself. This favours the baseline a
    little: a model that beats it has beaten every order. N-gram and xz learn from the last
    ``LEARNED`` characters of a longer training text.

    Args:
        train: (N,) ids of the training text; may be empty. None: it is missing, and all
            baselines but uniform are None.
        text: (M,) ids of the scored text, M >= 2.
        vocabulary_size: V, with ``<unk>`` as in the model; all ids lie in [0, V).
        train_text: for xz, the characters of ``train``, or of its end: at least the last
            ``LEARNED``.
        scored_text: the characters of ``text``, for xz; of those that are scored.
        max_order: the longest n-gram to try, in characters, >= 1.
        spelling: nats that every unknown character costs beyond ``<unk>``; xz spells them itself.
        boundary: as in `kneser_ney`; ``text`` then begins with it.
        scored: (M,) which characters are scored, not the first; the others are context. None: all
            but the first.

    Raises:
        CorpusError: ``text`` has fewer than two characters.
        ValueError: an id lies outside [0, V), or ``max_order`` is below 1.
    """
    if len(text) < 2:
        raise CorpusError(
            f"a text of {len(text)} characters leaves nothing to predict",
            "score a text of at least two characters",
        )
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, not {max_order}")
    for name, ids in (("train", train), ("text", text)):
        if ids is not None and len(ids) and not 0 <= ids.min() <= ids.max() < vocabulary_size:
            raise ValueError(f"{name} has ids outside [0, {vocabulary_size})")
    chosen = np.ones(len(text) - 1, np.bool_) if scored is None else scored[1:]  # (M - 1,)
    unknown = text[1:][chosen] == UNKNOWN  # (K,) of the K scored ones

    def baseline(name: str, nats: Floats, detail: str, learned_from: int = 0) -> Baseline:
        known = nats[~unknown] if unknown.any() else nats[:0]
        return Baseline(  # max: rounding makes a certain character negative
            name=name,
            nats_per_char=max(0.0, float(nats.mean())) + spelling * float(unknown.mean()),
            detail=detail,
            known_nats_per_char=max(0.0, float(known.mean())) if len(known) else None,
            learned_from=learned_from,
        )

    equal = np.full(len(unknown), math.log(vocabulary_size))
    uniform = baseline("uniform", equal, f"{vocabulary_size} characters, equally likely")
    if train is None:
        return {"uniform": uniform, "unigram": None, "ngram": None, "xz": None}
    read = train[max(0, len(train) - LEARNED) :]
    order, ngram = best_order(read, text, vocabulary_size, max_order, boundary, chosen)
    detail = f"modified Kneser-Ney, order {order}, the best here of 1 to {max_order}"
    counted = unigram(train, text, vocabulary_size)[chosen]
    xz_nats = xz(train_text[max(0, len(train_text) - LEARNED) :], scored_text)
    return {
        "uniform": uniform,
        "unigram": baseline("unigram", counted, "character counts, add-one", len(train)),
        "ngram": baseline("ngram", ngram, detail, len(read)),
        "xz": Baseline(
            name="xz",
            nats_per_char=max(0.0, xz_nats / len(unknown)),
            detail="xz -9e after the training text",
            learned_from=len(read),
        ),
    }


def best_order(
    train: Ids,
    text: Ids,
    vocabulary_size: int,
    max_order: int = 6,
    boundary: int | None = None,
    scored: NDArray[np.bool_] | None = None,
) -> tuple[int, Floats]:
    """The order of n-gram that scores best on K characters of ``text[1:]``, and its (K,) nats.

    Arguments are those of `kneser_ney`; ``scored`` is an (M - 1,) mask of the K characters, all if
    it is None.
    """
    by_order = kneser_ney(train, text, vocabulary_size, max_order, boundary)  # (max_order, M - 1)
    by_order = by_order if scored is None else by_order[:, scored]
    best = int(by_order.mean(axis=1).argmin())
    return best + 1, by_order[best]


def unigram(train: Ids, text: Ids, vocabulary_size: int) -> Floats:
    """(M - 1,) nats of each character of ``text[1:]`` by its count in the training text.

    P(w) = (c(w) + 1) / (N + V)                        (add-one smoothing, Laplace)
    """
    blocks = (train[start : start + _BLOCK] for start in range(0, len(train), _BLOCK))
    counts = np.zeros(vocabulary_size, np.int64)
    for block in blocks:  # bincount makes integers of 8 bytes of them
        counts += np.bincount(block, minlength=vocabulary_size)
    return np.asarray(np.log(len(train) + vocabulary_size) - np.log(counts[text[1:]] + 1))


def xz(train_text: str, text: str) -> float:
    """Nats that ``text`` adds to the xz file of the training text.

        ln 2 * 8 * (bytes of xz(train_text + text) - bytes of xz(train_text))

    The compressor reads the training text first. Its window holds both texts, up to the encoder's
    limit of 1.5 GiB. Unlike the other baselines it continues to learn while it reads ``text``, and
    it also encodes the first character. The texts are in UTF-8 and the settings are
    ``-9 --extreme``; about 20 bytes of memory are needed per byte of text.
    """
    prefix = train_text.encode("utf-8", "surrogatepass")
    whole = prefix + text.encode("utf-8", "surrogatepass")
    lzma2: dict[str, Any] = {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": min(max(len(whole), 4096), MAX_XZ_DICTIONARY),
    }
    with ThreadPoolExecutor() as pool:  # lzma releases the interpreter lock
        files = pool.map(lambda data: lzma.compress(data, filters=[lzma2]), (prefix, whole))
        before, after = map(len, files)
    return 8 * math.log(2) * (after - before)


def kneser_ney(
    train: Ids, text: Ids, vocabulary_size: int, max_order: int, boundary: int | None = None
) -> Floats:
    """Nats of each character of ``text[1:]`` under n-gram models of orders 1 to ``max_order``.

    Interpolated modified Kneser-Ney (Chen & Goodman, "An empirical study of smoothing techniques
    for language modeling", Computer Speech & Language 13, 1999, pages 359-394). h is the n - 1
    characters before w, and h' is h without its first character:

        P(w | h) = (c(h w) - D(c(h w)) + sum_v D(c(h v)) P(w | h')) / sum_v c(h v)

    * In the highest order c(g) is the count of g. In a lower order it is the number of distinct
      characters seen before g; the beginning of the training text counts as one.
    * D is 0, D1, D2 or D3+ for a count of 0, 1, 2 or more; see ``_discounts``.
    * Below order 1 is the uniform distribution 1 / V, so every id has a probability above 0.
    * If no character follows h in the training text, P(w | h) = P(w | h').
    * At the beginning of ``text``, where i < n - 1 characters precede w, order i + 1 is used.
    * ``train`` is one long sequence without boundary symbols between lines, unless ``boundary``
      is the id of a line end: then no n-gram goes from one line to the next. It may begin or end
      with a line end, and near the beginning of a line the orders are as at that of ``text``.

    An n-gram is represented by its rank among the n-grams of its order. A pair of a prefix and a
    character then fits one int64 for every order, as ``rank * V + id``; counting is one sort per
    order.

    ``train`` has (N,) ids and may be empty, ``text`` (M,) ids, M >= 1; all lie in [0, V).

    Returns:
        (max_order, M - 1) nats; row n - 1 is order n.
    """
    size = len(text)
    nats = np.empty((max_order, size - 1))
    highest = lower = np.full(size, 1 / vocabulary_size)  # (M,) P of each of text
    ranks: Ids = np.zeros(size + 1, np.int64)  # order 0: the empty n-gram at every place
    counted = _count_grams(train, vocabulary_size, max_order, boundary)
    inside = _inside_lines(text, max_order, boundary)
    for n, (grams, within) in enumerate(zip(counted, inside, strict=True), start=1):
        contexts = ranks[:-1]  # (M - n + 1,), as below: places that n - 1 ids precede
        ranks = _ranks_of(contexts * vocabulary_size + text[n - 1 :], grams.keys)
        raw, continuation = (
            np.where(within, _interpolate(grams, counts, contexts, ranks, lower[n - 1 :]), shorter)
            for counts, shorter in (
                (grams.raw, highest[n - 1 :]),
                (grams.continuation, lower[n - 1 :]),
            )
        )
        highest = np.append(highest[: n - 1], raw)
        lower = np.append(lower[: n - 1], continuation)
        nats[n - 1] = -np.log(highest[1:])
    return nats


def _inside_lines(ids: Ids, max_order: int, boundary: int | None) -> Iterator[NDArray[np.bool_]]:
    """For each order n, which of the n-grams of ``ids`` have no boundary between first and last.

    (M - n + 1,) each, or none if ``ids`` are shorter.
    """
    inside = np.ones(len(ids) + 1, np.bool_)
    for n in range(1, max_order + 1):
        inside = inside[:-1]
        if n > 2 and boundary is not None:
            inside = inside & (ids[n - 2 : -1] != boundary)
        yield inside


class _Grams(NamedTuple):
    """The distinct n-grams of one order in the training text."""

    keys: Ids  # (G,) rank of the prefix, its first n - 1 characters, * V + last id; ascending
    prefixes: Ids  # (G,) rank of the prefix
    num_prefixes: int  # number of distinct (n - 1)-grams
    raw: Ids  # (G,) counts
    continuation: Ids  # (G,) numbers of distinct characters before; 0 in the highest order


def _count_grams(
    train: Ids, vocabulary_size: int, max_order: int, boundary: int | None
) -> list[_Grams]:
    """The n-grams of ``train`` inside lines, order 1 first."""
    orders: list[_Grams] = []
    previous = np.zeros(len(train) + 1, np.int64)  # rank of the (n - 1)-gram at each place
    for n, inside in enumerate(_inside_lines(train, max_order, boundary), start=1):
        num_prefixes = len(orders[-1].keys) if orders else 1
        keys, found, raw = _distinct(
            (previous[:-1] * vocabulary_size + train[n - 1 :])[inside],
            num_prefixes * vocabulary_size,
        )
        ranks = np.full(len(inside), -1)  # -1: it goes beyond a line, and so do longer ones
        ranks[inside] = found
        if orders:  # each distinct n-gram is a distinct left neighbour of its suffix
            suffixes = np.empty(len(keys), np.int64)
            suffixes[found] = previous[1:][inside]
            beginning = previous[:1][previous[:1] >= 0]
            left = np.bincount(np.append(suffixes, beginning), minlength=num_prefixes)
            orders[-1] = orders[-1]._replace(continuation=left)
        prefixes = keys // vocabulary_size
        orders.append(_Grams(keys, prefixes, num_prefixes, raw, np.zeros_like(raw)))
        previous = ranks
    return orders


def _distinct(keys: Ids, bound: int) -> tuple[Ids, Ids, Ids]:
    """The (G,) distinct ones of N keys below ``bound``, the (N,) index of each, and (G,) counts."""
    if bound <= 4 * len(keys):
        counts = np.bincount(keys, minlength=bound)  # a table is faster than a sort
        occurs = counts > 0
        return np.flatnonzero(occurs), (occurs.cumsum(dtype=np.int32) - 1)[keys], counts[occurs]
    # As np.unique, with half of its memory.
    order = keys.argsort(kind="stable")
    ordered = keys[order]
    begins = np.append(True, ordered[1:] != ordered[:-1])[: len(keys)]
    found = np.empty(len(keys), np.int32)
    found[order] = begins.cumsum(dtype=np.int32) - 1
    places = np.flatnonzero(begins)
    return ordered[places], found, np.diff(places, append=len(keys))


def _ranks_of(wanted: Ids, keys: Ids) -> Ids:
    """The index of each wanted key in the sorted keys; -1 if it is missing."""
    left = np.searchsorted(keys, wanted)
    return np.where(np.searchsorted(keys, wanted, side="right") > left, left, -1)


def _interpolate(grams: _Grams, counts: Ids, contexts: Ids, ranks: Ids, lower: Floats) -> Floats:
    """(K,) P(w | h) at K places of the text; ``kneser_ney`` has the equation.

    ``counts`` has (G,) c(h w). ``contexts`` and ``ranks`` have (K,) ranks of h and h w, -1 for
    unseen ones. ``lower`` has (K,) P(w | h').
    """
    discounts = _discounts(counts)[np.minimum(counts, 3)]  # (G,)
    total, freed = (  # (K,); the appended 0 is for rank -1
        np.append(np.bincount(grams.prefixes, weights, minlength=grams.num_prefixes), 0)[contexts]
        for weights in (counts, discounts)
    )
    kept = np.append(counts - discounts, 0)[ranks]
    return np.where(total > 0, (kept + freed * lower) / np.maximum(total, 1), lower)


def _discounts(counts: Ids) -> Floats:
    """(0, D1, D2, D3+) from n_i, the number of n-grams with count i.

        Y = n1 / (n1 + 2 n2),  D_i = i - (i + 1) Y n_(i+1) / n_i

    If one of n1 to n4 is 0, or a D_i is outside (0, i], the order uses ``FALLBACK_DISCOUNTS``.
    Every D_i is above 0, so every context gives some probability to the lower order.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=5)
    if n[1:5].all():
        i = np.arange(1, 4)
        discounts = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
        if (discounts > 0).all():
            return np.append(0, discounts)
    return np.array([0, *FALLBACK_DISCOUNTS])
