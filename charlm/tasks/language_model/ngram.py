"""Character n-grams with interpolated modified Kneser-Ney smoothing.

Chen & Goodman, "An empirical study of smoothing techniques for language modeling", Computer Speech
& Language 13, 1999, pages 359-394. h is the n - 1 characters before w, and h' is h without its
first character:

    P(w | h) = (c(h w) - D(c(h w)) + sum_v D(c(h v)) P(w | h')) / sum_v c(h v)

* In the highest order c(g) is the count of g. In a lower order it is the number of distinct
  characters seen before g; the beginning of the training text counts as one.
* D is 0, D1, D2 or D3+ for a count of 0, 1, 2 or more; see ``_discounts``.
* Below order 1 is the uniform distribution 1 / V, so every id has a probability above 0.
* If no character follows h in the training text, P(w | h) = P(w | h').
* At the beginning of a text, where i < n - 1 characters precede w, order i + 1 is used.
* The training text is one long sequence without boundary symbols between lines, unless a boundary,
  the id of a line end, is given: then no n-gram goes from one line to the next. It may begin or end
  with a line end, and near the beginning of a line the orders are as at that of a text.

An n-gram is represented by its rank among the n-grams of its order. A pair of a prefix and a
character then fits one int64 for every order, as ``rank * V + id``; counting is one sort per order.

Letters in the shape comments: N training ids, M ids of the scored text, V vocabulary,
G distinct n-grams of one order in the training text, P distinct prefixes of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Ids = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # D1, D2, D3+ in counts; KenLM's --discount_fallback


class Kept(NamedTuple):
    """The equation's terms that do not depend on the text; the last of each is 0, for rank -1."""

    kept: Floats  # (G + 1,) c(h w) - D(c(h w))
    total: Floats  # (P + 1,) sum_v c(h v)
    freed: Floats  # (P + 1,) sum_v D(c(h v))


@dataclass(frozen=True, eq=False)
class Grams:
    """The distinct n-grams of one order in the training text.

    Attributes:
        keys: (G,) rank of the prefix, its first n - 1 characters, * V + last id; ascending.
        raw: (G,) counts.
        continuation: (G,) numbers of distinct characters before; 0 in the longest order counted.
        num_prefixes: P, the number of distinct (n - 1)-grams.
        vocabulary_size: V.
    """

    keys: Ids
    raw: Ids
    continuation: Ids
    num_prefixes: int
    vocabulary_size: int

    @cached_property
    def kept(self) -> tuple[Kept, Kept]:
        """The terms where this is a lower order, and where it is the highest one."""
        return self.terms(self.continuation), self.terms(self.raw)

    @cached_property
    def starts(self) -> Ids:
        """(P + 1,) where the n-grams with each prefix begin; the last one is G."""
        prefixes = np.arange(self.num_prefixes + 1)
        return np.searchsorted(self.keys, prefixes * self.vocabulary_size)

    @cached_property
    def last_ids(self) -> Ids:
        """(G,) the last id of each n-gram."""
        return self.keys % self.vocabulary_size

    def terms(self, counts: Ids) -> Kept:
        """The equation's terms for counts c, (G,)."""
        discounts = _discounts(counts)[np.minimum(counts, 3)]  # (G,)
        prefixes = self.keys // self.vocabulary_size
        total, freed = (
            np.append(np.bincount(prefixes, weights, minlength=self.num_prefixes), 0.0)
            for weights in (counts, discounts)
        )
        return Kept(np.append(counts - discounts, 0.0), total, freed)

    def ranks(self, contexts: Ids, ids: Ids) -> Ids:
        """The ranks of some n-grams; -1 for unseen ones. ``contexts`` has those of the prefixes."""
        wanted = contexts * self.vocabulary_size + ids
        left = np.searchsorted(self.keys, wanted)
        return np.where(np.searchsorted(self.keys, wanted, side="right") > left, left, -1)

    def rank(self, context: int, id: int) -> int:
        """The rank of one n-gram; -1 if it is unseen."""
        if context < 0:
            return -1
        key = context * self.vocabulary_size + id
        place = int(self.keys.searchsorted(key))
        return place if place < len(self.keys) and self.keys[place] == key else -1


class Predicted(NamedTuple):
    """What n-gram models say about the characters ``text[1:]``."""

    nats: Floats  # (max_order, M - 1); row n - 1 is order n
    context: Ids  # (M - 1,) the length of the longest context, below max_order, seen in training


@dataclass(frozen=True, eq=False)
class NGram:
    """N-gram models of all orders up to the number of ``orders``.

    Attributes:
        orders: the n-grams of each order, order 1 first.
        vocabulary_size: V.
        boundary: the id of a line end, if each line is an example; else None.
    """

    orders: Sequence[Grams]
    vocabulary_size: int
    boundary: int | None = None

    @classmethod
    def count(
        cls, train: Ids, vocabulary_size: int, max_order: int, boundary: int | None = None
    ) -> Self:
        """The n-grams of a training text, (N,) ids in [0, V); it may be empty."""
        orders: list[Grams] = []
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
                before = orders[-1]
                orders[-1] = Grams(
                    before.keys, before.raw, left, before.num_prefixes, vocabulary_size
                )
            orders.append(Grams(keys, raw, np.zeros_like(raw), num_prefixes, vocabulary_size))
            previous = ranks
        return cls(orders, vocabulary_size, boundary)

    def up_to(self, order: int) -> NGram:
        """The models of the orders up to this one."""
        return NGram(self.orders[:order], self.vocabulary_size, self.boundary)

    def predict(self, text: Ids) -> Predicted:
        """Nats of each character of ``text[1:]``; (M,) ids in [0, V), M >= 1."""
        size, max_order = len(text), len(self.orders)
        nats, longest = np.empty((max_order, size - 1)), np.zeros(size, np.int64)
        highest = lower = np.full(size, 1 / self.vocabulary_size)  # (M,) P of each of text
        ranks: Ids = np.zeros(size + 1, np.int64)  # order 0: the empty n-gram at every place
        inside = _inside_lines(text, max_order, self.boundary)
        for n, (grams, within) in enumerate(zip(self.orders, inside, strict=True), start=1):
            contexts = ranks[:-1]  # (M - n + 1,), as below: places that n - 1 ids precede
            ranks = grams.ranks(contexts, text[n - 1 :])
            raw, continuation = (  # the terms are not kept, since they take much memory
                np.where(within, _interpolate(terms, contexts, ranks, lower[n - 1 :]), shorter)
                for terms, shorter in (
                    (grams.terms(grams.raw), highest[n - 1 :]),
                    (grams.terms(grams.continuation), lower[n - 1 :]),
                )
            )
            followed = np.append(grams.starts[1:] > grams.starts[:-1], False)[contexts]
            longest[n - 1 :][within & followed] = n - 1
            highest = np.append(highest[: n - 1], raw)
            lower = np.append(lower[: n - 1], continuation)
            nats[n - 1] = -np.log(highest[1:])
        return Predicted(nats, longest[1:])

    def read(self, context: Sequence[int], id: int) -> list[int]:
        """The context after one more character.

        A context is the ranks of the last 0, 1, 2, ... characters, -1 for unseen ones; at the
        beginning of a text it is ``[0]``.
        """
        if id == self.boundary:
            return [0, self.orders[0].rank(0, id)][: len(self.orders)]
        pairs = zip(self.orders[:-1], context, strict=False)
        return [0, *(grams.rank(rank, id) for grams, rank in pairs)]

    def distribution(self, context: Sequence[int]) -> tuple[Floats, int]:
        """(V,) P(w | h), and the length of the longest context seen in training.

        It is the slow twin of `predict`, with the highest order.
        """
        probabilities, longest = np.full(self.vocabulary_size, 1 / self.vocabulary_size), 0
        for n, (grams, rank) in enumerate(zip(self.orders, context, strict=False), start=1):
            kept = grams.kept[n == len(context)]
            if rank < 0 or not kept.total[rank]:
                continue
            longest = n - 1
            begin, end = grams.starts[rank], grams.starts[rank + 1]
            probabilities *= kept.freed[rank] / kept.total[rank]
            probabilities[grams.last_ids[begin:end]] += kept.kept[begin:end] / kept.total[rank]
        return probabilities, longest


def kneser_ney(
    train: Ids, text: Ids, vocabulary_size: int, max_order: int, boundary: int | None = None
) -> Floats:
    """Nats of each character of ``text[1:]`` under n-gram models of orders 1 to ``max_order``.

    ``train`` has (N,) ids and may be empty, ``text`` (M,) ids, M >= 1; all lie in [0, V).

    Returns:
        (max_order, M - 1) nats; row n - 1 is order n.
    """
    return NGram.count(train, vocabulary_size, max_order, boundary).predict(text).nats


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


def _interpolate(kept: Kept, contexts: Ids, ranks: Ids, lower: Floats) -> Floats:
    """(K,) P(w | h) at K places of the text.

    ``contexts`` and ``ranks`` have (K,) ranks of h and h w, -1 for unseen ones. ``lower`` has (K,)
    P(w | h').
    """
    total = kept.total[contexts]
    mixed = (kept.kept[ranks] + kept.freed[contexts] * lower) / np.maximum(total, 1)
    return np.where(total > 0, mixed, lower)


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
