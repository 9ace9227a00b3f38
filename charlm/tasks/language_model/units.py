"""Single units of a language model that track something in the text.

Karpathy, Johnson and Fei-Fei (2015), "Visualizing and understanding recurrent networks",
arXiv:1506.02078, coloured texts by the values of units, and found some that are on inside quotes.
Here they are searched for, with two controls: features of a shuffled text, and a network without
training. Zhang and Bowman (2018), arXiv:1809.10040, show why the second is needed: random networks
know much about the last characters too.

Letters in the shape comments: T characters of the text, U units, F features, K classes of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.tasks.language_model.clamping import Cost, costs
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.features import Feature, features
from charlm.tasks.language_model.model import LanguageModel, build_language_model
from charlm.tasks.language_model.recording import Floats, Recording, Unit, record

LEAST = 0.25  # of a feature's entropy, that a unit which tracks it knows
GAIN = 0.1  # by which this is more than the same of a network without training
MOST = 12  # units that are held
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
    chance: float  # the same of the best unit and feature, if the features are of the shuffled text
    others: int  # more units that know at least `LEAST`
    speaks: int  # the class that the unit shows most
    cost: Cost | None = None  # of holding the unit

    @property
    def knows(self) -> bool:
        """Whether the unit shows the feature, and more than without training and by chance."""
        return self.share >= max(LEAST, self.untrained + GAIN, self.chance + GAIN)

    @property
    def named(self) -> bool:
        """Whether the unit tracks the feature.

        The last character alone is in some unit of any network, and remembering it is no
        achievement: there the predictions must use the unit, too.
        """
        return self.knows and (not self.feature.instant or bool(self.cost and self.cost.matters))

    @property
    def places(self) -> NDArray[np.bool_]:
        """(T,) where the feature speaks."""
        found: NDArray[np.bool_] = self.feature.classes == self.speaks
        return found

    @property
    def words(self) -> str:
        """The feature, and of a counted one the class that the unit shows most."""
        return self.feature.words(self.speaks)


class Units(NamedTuple):
    """What the units of a network track in a text."""

    text: str  # T characters
    recording: Recording
    found: list[Tracked]  # the best unit of each feature: what is named comes first

    @property
    def named(self) -> list[Tracked]:
        """Those that track a feature, the clearest first."""
        return [each for each in self.found if each.named]


def find_units(
    model: LanguageModel,
    untrained: LanguageModel,
    ids: Tensor,
    text: str,
    *,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Units:
    """The best unit for each feature of a text, and what those that know much are worth.

    A unit is chosen in the first half of the text, and measured in the second.

    Args:
        untrained: a network with the same settings and random weights.
        ids: (N,) of the text.
        text: its N characters.
        seed: of the shuffling, and of the choice of random units.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    recording = record(model, ids, should_stop=should_stop)
    text = text[: len(recording.nats)]
    bare = record(untrained, ids, should_stop=should_stop)
    found = _tracked(recording, bare, text, np.random.default_rng(seed))
    known = [each for each in found if each.knows]
    known = sorted(known, key=lambda each: (each.feature.instant, -each.share))[:MOST]
    if known:
        wanted = [(each.unit, each.places) for each in known]
        paid = costs(model, recording, wanted, seed=seed, should_stop=should_stop)
        by_name = {each.feature.name: cost for each, cost in zip(known, paid, strict=True)}
        found = [each._replace(cost=by_name.get(each.feature.name)) for each in found]
    found.sort(key=lambda each: (not each.named, -each.share))
    return Units(text, recording, found)


def untrained_model(config: LanguageModelSection, vocabulary_size: int) -> LanguageModel:
    """A network with the settings of another and random weights, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_language_model(config, vocabulary_size)


def _tracked(
    recording: Recording, untrained: Recording, text: str, generator: np.random.Generator
) -> list[Tracked]:
    """The best unit of each feature of a text, without costs."""
    every = features(text)
    if not every:
        return []
    control = features("".join(text[place] for place in generator.permutation(len(text))))
    parts = recording.values.items()
    units = [Unit(*key, number) for key, part in parts for number in range(part.shape[1])]
    first, second = _shares(recording, [*every, *control])
    best = first.argmax(axis=0)  # (F,)
    shares = np.take_along_axis(second, best[None], axis=0)[0]
    bare = _shares(untrained, every)
    without = np.take_along_axis(bare[1], bare[0].argmax(axis=0)[None], axis=0)[0]
    many = (np.minimum(first, second) >= LEAST).sum(axis=0)
    return [
        Tracked(
            feature,
            units[best[number]],
            share=float(shares[number]),
            untrained=float(without[number]),
            chance=float(shares[len(every) :].max(initial=0)),
            others=max(0, int(many[number]) - 1),
            speaks=_speaks(recording.of(units[best[number]]), feature),
        )
        for number, feature in enumerate(every)
    ]


class Look(NamedTuple):
    """What one unit does in a text."""

    recording: Recording
    known: list[tuple[Feature, float]]  # the features and the shares it knows, the largest first
    speaks: int  # the class of the first feature that the unit shows most
    cost: Cost  # of holding the unit; its places are those of this class, or all

    @property
    def places(self) -> NDArray[np.bool_]:
        """(T,) where that feature speaks; everywhere if the text has none."""
        if not self.known:
            return np.ones(len(self.recording.nats), bool)
        found: NDArray[np.bool_] = self.known[0][0].classes == self.speaks
        return found

    @property
    def words(self) -> str:
        """The feature that the unit knows best, as of `Tracked`; empty if the text has none."""
        return self.known[0][0].words(self.speaks) if self.known else ""


def look_at(
    model: LanguageModel,
    ids: Tensor,
    text: str,
    unit: Unit,
    *,
    value: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Look:
    """What one unit does in a text: its values, the features that it knows, and what it is worth.

    Args:
        ids, text: as in `find_units`.
        value: at which the unit is held; None: its mean.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    recording = record(model, ids, should_stop=should_stop)
    every = features(text[: len(recording.nats)])
    values = recording.of(unit)
    shares = np.minimum(*explained(values[:, None], every))[0].tolist() if every else []
    known = sorted(zip(every, shares, strict=True), key=lambda each: -each[1])
    speaks = _speaks(values, known[0][0]) if known else 0
    places = known[0][0].classes == speaks if known else np.ones(len(values), bool)
    (cost,) = costs(model, recording, [(unit, places)], value=value, should_stop=should_stop)
    return Look(recording, known, speaks, cost)


def _shares(recording: Recording, features: Sequence[Feature]) -> tuple[Floats, Floats]:
    """`explained` of all units."""
    parts = [explained(part, features) for part in recording.values.values()]
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


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
    classes = feature.classes[part, None] == np.arange(len(feature.labels))
    return np.asarray(classes, np.float32)


def _share(counts: Floats) -> Floats:
    """(BINS, K, U) counts of places to (U,) shares."""
    total = counts.sum(axis=(0, 1))
    entropies = [_entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))]
    both = _entropy(counts.reshape(-1, counts.shape[2]))
    classes = np.count_nonzero(counts.sum(axis=(0, 2)))
    bias = (BINS - 1) * (classes - 1) / (2 * total)
    information = entropies[0] + entropies[1] - both - bias
    shares: Floats = np.maximum(information, 0) / np.maximum(entropies[1], 1e-9)
    return shares


def _entropy(counts: Floats) -> Floats:
    """(N, U) counts to (U,) entropies, in nats."""
    shares = counts / counts.sum(axis=0)
    entropies: Floats = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0)
    return entropies
