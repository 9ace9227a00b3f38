"""Single units of a language model that track something in the text.

Karpathy, Johnson and Fei-Fei (2015), "Visualizing and understanding recurrent networks",
arXiv:1506.02078, coloured texts by the values of units, and found some that are on inside quotes.
Here they are searched for, with two controls: features of a shuffled text, and a network without
training. Zhang and Bowman (2018), arXiv:1809.10040, show why the second is needed: random networks
know much about the last characters too.

Letters in the shape comments: T characters of the text, U units, F features, K classes of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.tasks.language_model.features import Feature, features
from charlm.tasks.language_model.units import Floats, Recording, Unit

LEAST = 0.25  # of a feature's entropy, that a unit which tracks it knows
GAIN = 0.1  # by which this is more than the same of a network without training
BLOCK = 256  # units that are counted together
# The shares of a unit's values below the ends of its ranges. They are finer at both ends, because a
# unit that shows a few characters has few values there.
ENDS = tuple(number / 64 for number in (1, 2, 4, 8, 16, 32, 48, 56, 60, 62, 63))
BINS = len(ENDS) + 1


class Tracked(NamedTuple):
    """The unit that knows most about a feature."""

    feature: Feature
    unit: Unit  # the best in the first half of the text
    share: float  # of the feature's entropy that it knows, in the second half
    untrained: float  # the same of the best unit of a network without training
    others: int  # more units that know at least `LEAST`
    speaks: int  # the class that the unit shows most

    @property
    def named(self) -> bool:
        """Whether the unit tracks the feature, and training has brought that about."""
        return self.share >= max(LEAST, self.untrained + GAIN)

    @property
    def words(self) -> str:
        """The feature, and of a counted one the class that the unit shows most."""
        return self.feature.words(self.speaks)


class Tracking(NamedTuple):
    """What the units of a network track in a text."""

    found: list[Tracked]  # the best unit of each feature: what is named comes first
    shuffled: float  # the largest share with features of the shuffled text

    @property
    def named(self) -> list[Tracked]:
        """Those that track a feature."""
        return [each for each in self.found if each.named and each.share > self.shuffled]


def track(recording: Recording, untrained: Recording, text: str, *, seed: int = 0) -> Tracking:
    """The best unit for each feature of a text, chosen in one half and confirmed in the other.

    Args:
        untrained: of a network with the same settings and random weights, on the same text.
        text: its T characters.
        seed: of the shuffling.
    """
    every = features(text)
    order = np.random.default_rng(seed).permutation(len(text))
    control = features("".join(text[place] for place in order))
    if not every:
        return Tracking([], 0.0)
    units = [
        Unit(*key, at) for key, part in recording.values.items() for at in range(part.shape[1])
    ]
    first, second = _shares(recording, [*every, *control])
    bare = _best(*_shares(untrained, every))
    best = first.argmax(axis=0)
    found = [
        Tracked(
            feature,
            units[best[number]],
            float(second[best[number], number]),
            float(bare[number]),
            max(0, int(np.sum(np.minimum(first, second)[:, number] >= LEAST)) - 1),
            _speaks(recording.of(units[best[number]]), feature),
        )
        for number, feature in enumerate(every)
    ]
    found.sort(key=lambda each: (not each.named, -each.share))
    return Tracking(found, float(max(_best(first, second)[len(every) :], default=0)))


def known(values: NDArray[np.float32], text: str) -> list[tuple[str, float]]:
    """The features of a text and the shares that one unit knows, the largest first.

    Args:
        values: (T,) of the unit.
    """
    every = features(text)
    if not every:
        return []
    shares = np.minimum(*explained(values[:, None], every))[0]
    pairs = zip((each.name for each in every), shares.tolist(), strict=True)
    return sorted(pairs, key=lambda each: -each[1])


def _shares(recording: Recording, features: Sequence[Feature]) -> tuple[Floats, Floats]:
    """`explained` of all units."""
    parts = [explained(part, features) for part in recording.values.values()]
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _best(first: Floats, second: Floats) -> Floats:
    """(F,) shares in the second half of the units that are best in the first."""
    return np.take_along_axis(second, first.argmax(axis=0)[None], axis=0)[0]


def _speaks(values: NDArray[np.float32], feature: Feature) -> int:
    """The class whose places the unit shows most: p(k) KL(p(v | k) || p(v)) is largest.

    Of a feature that is there or not, it is that it is there.
    """
    if len(feature.labels) == 2:
        return 1
    half = slice(len(values) // 2)
    bins = np.searchsorted(np.quantile(values[half], ENDS), values[half])
    counts = _one_hot(feature, half).T @ np.eye(BINS)[bins]  # (K, BINS)
    by_class = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ratios = by_class / np.maximum(counts.sum(axis=0) / counts.sum(), 1e-9)
    gains = (counts * np.log(np.where(ratios > 0, ratios, 1))).sum(axis=1)
    return int(gains.argmax())


def explained(values: NDArray[np.float32], features: Sequence[Feature]) -> tuple[Floats, Floats]:
    """The share of each feature's entropy that each unit knows, (U, F), in the halves of a text.

    ::

        I(v; f) / H(f)

    I is the mutual information of the feature's classes and of the unit's value in 12 ranges, less
    its bias on independent data, (12 - 1) (K - 1) / T nats (Miller 1955, "Note on the bias of
    information estimates"). So 0 is nothing, and 1 is a unit that shows the feature exactly. Both
    halves have the ranges that follow from the first.

    Args:
        values: (T, U).
    """
    half = len(values) // 2
    edges = np.quantile(values[:half], ENDS, axis=0)
    shares = []
    for part in (slice(half), slice(half, None)):
        classes = np.concatenate([_one_hot(each, part) for each in features], axis=1)  # (T/2, sum)
        counts = np.empty((BINS, classes.shape[1], values.shape[1]))
        for begin in range(0, values.shape[1], BLOCK):
            block = slice(begin, begin + BLOCK)
            bins = np.zeros(values[part, block].shape, np.int8)
            for edge in edges[:, block]:
                bins += values[part, block] > edge
            for number in range(BINS):
                counts[number, :, block] = classes.T @ (bins == number).astype(np.float32)
        ends = np.cumsum([len(each.labels) for each in features])[:-1]
        parts = np.split(counts, ends, axis=1)
        shares.append(np.stack([_share(each) for each in parts], axis=1))
    return shares[0], shares[1]


def _one_hot(feature: Feature, part: slice) -> NDArray[np.float32]:
    return (feature.classes[part, None] == np.arange(len(feature.labels))).astype(np.float32)


def _share(counts: Floats) -> Floats:
    """(BINS, K, U) counts of places to (U,) shares."""
    total = counts.sum(axis=(0, 1))
    entropies = [_entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))]
    both = _entropy(counts.reshape(-1, counts.shape[2]))
    classes = np.count_nonzero(counts.sum(axis=(0, 2)))
    bias = (BINS - 1) * (classes - 1) / (2 * total)
    information = entropies[0] + entropies[1] - both - bias
    return np.maximum(information, 0) / np.maximum(entropies[1], 1e-9)


def _entropy(counts: Floats) -> Floats:
    """(N, U) counts to (U,) entropies, in nats."""
    shares = counts / counts.sum(axis=0)
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0)
