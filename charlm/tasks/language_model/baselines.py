"""Baselines without a neural network, which a trained model should beat.

Every baseline learns from the training text alone and is scored on the same characters as the
model: in a text of M ids the first is context and the other M - 1 are predicted.

Letters in the shape comments: N training ids, M ids of the scored text, V vocabulary, K places of
the scored text.
"""

from __future__ import annotations

import lzma
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.corpus.vocabulary import UNKNOWN
from charlm.errors import CorpusError
from charlm.tasks.language_model.ngram import Floats, Ids, kneser_ney

_BLOCK = 2**20  # characters that are counted at once
MAX_XZ_DICTIONARY = 1536 * 2**20  # bytes; the encoder accepts no larger window
NGRAM_ORDERS = 6  # the longest n-gram, in characters
LEARNED = 4_000_000  # characters that the n-gram and xz learn from; about ten seconds in all


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The score of one baseline."""

    name: str  # "uniform", "unigram", "ngram" or "xz"
    nats_per_char: float  # mean cross-entropy of a predicted character
    detail: str  # how the score was computed, in a few words
    known_nats_per_char: float | None = None  # without the unknown characters, if there are some
    learned_from: int = 0  # characters of the training text
    # (K,) nats of each of the K scored characters, <unk> without its spelling; the n-gram's alone
    each: Floats | None = field(default=None, repr=False, compare=False)

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
    max_order: int = NGRAM_ORDERS,
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
        "ngram": replace(baseline("ngram", ngram, detail, len(read)), each=ngram),
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
    max_order: int = NGRAM_ORDERS,
    boundary: int | None = None,
    scored: NDArray[np.bool_] | None = None,
) -> tuple[int, Floats]:
    """The order of n-gram that scores best on K characters of ``text[1:]``, and its (K,) nats.

    Arguments are those of `kneser_ney`; ``scored`` is an (M - 1,) mask of the K characters, all if
    it is None.
    """
    by_order = kneser_ney(train, text, vocabulary_size, max_order, boundary)  # (max_order, M - 1)
    by_order = by_order if scored is None else by_order[:, scored]
    return best_of(by_order)


def best_of(by_order: Floats) -> tuple[int, Floats]:
    """The order with the smallest mean of (orders, K) nats, and its (K,) nats."""
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
