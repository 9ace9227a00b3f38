"""The n-gram against a slow twin with dicts, sums of distributions, and extreme inputs."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CorpusError
from charlm.tasks.language_model.baselines import Baseline, baselines, unigram, xz
from charlm.tasks.language_model.ngram import FALLBACK_DISCOUNTS, NGram, _discounts, kneser_ney

pytestmark = pytest.mark.filterwarnings("error")


def ids(values) -> np.ndarray:
    return np.array(list(values), dtype=np.int64)


class SlowKneserNey:
    """Chen & Goodman's interpolated modified Kneser-Ney, one n-gram at a time."""

    def __init__(
        self, train: list[int], vocabulary_size: int, order: int, boundary: int | None = None
    ) -> None:
        self.vocabulary = range(vocabulary_size)
        self.order = order
        self.counts = {}  # by order, by n-gram
        for n in range(1, order + 1):
            places = [
                i for i in range(len(train) - n + 1) if boundary not in train[i + 1 : i + n - 1]
            ]
            if n == order:
                self.counts[n] = Counter(tuple(train[i : i + n]) for i in places)
            else:
                left = defaultdict(set)
                for i in places:
                    if n == 1 or train[i] != boundary or not i:
                        left[tuple(train[i : i + n])].add(train[i - 1] if i else "beginning")
                self.counts[n] = {gram: len(before) for gram, before in left.items()}
        self.discounts = {n: self._discounts(n) for n in self.counts}

    def _discounts(self, n: int) -> tuple[float, float, float]:
        n1, n2, n3, n4 = (list(self.counts[n].values()).count(i) for i in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return FALLBACK_DISCOUNTS
        y = n1 / (n1 + 2 * n2)
        d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return (d1, d2, d3) if min(d1, d2, d3) > 0 else FALLBACK_DISCOUNTS

    def probability(self, h: tuple[int, ...], w: int) -> float:
        """P(w | h); h has at most order - 1 characters."""
        lower = self.probability(h[1:], w) if h else 1 / len(self.vocabulary)
        n = len(h) + 1
        d1, d2, d3 = self.discounts[n]
        after = [self.counts[n].get((*h, v), 0) for v in self.vocabulary]
        if sum(after) == 0:
            return lower
        num1, num2, num3 = after.count(1), after.count(2), sum(c >= 3 for c in after)
        gamma = (d1 * num1 + d2 * num2 + d3 * num3) / sum(after)
        count = after[w]
        discount = (0, d1, d2, d3)[min(count, 3)]
        return (count - discount) / sum(after) + gamma * lower


def slow_nats(
    train: list[int],
    text: list[int],
    vocabulary_size: int,
    max_order: int,
    boundary: int | None = None,
):
    models = [SlowKneserNey(train, vocabulary_size, n, boundary) for n in range(1, max_order + 1)]
    nats = []
    for n in range(1, max_order + 1):
        nats.append([])
        for i, w in enumerate(text):
            starts = [0, i + 1 - n, *(j for j in range(i) if text[j] == boundary)]
            h = tuple(text[max(starts) : i])
            if i:
                nats[-1].append(-math.log(models[len(h)].probability(h, w)))
    return nats


@st.composite
def texts(draw):
    vocabulary_size = draw(st.integers(1, 4))
    one = st.integers(0, vocabulary_size - 1)
    train = draw(st.lists(one, max_size=60))
    return train, draw(st.lists(one, min_size=2, max_size=12)), vocabulary_size


@settings(max_examples=150, deadline=None)
@given(texts(), st.integers(1, 5), st.none() | st.integers(0, 2))
def test_ngram_agrees_with_its_slow_twin(drawn, max_order, boundary):
    """With a boundary, no n-gram goes from one line to the next."""
    train, text, vocabulary_size = drawn
    fast = kneser_ney(ids(train), ids(text), vocabulary_size, max_order, boundary)
    assert fast.shape == (max_order, len(text) - 1)
    np.testing.assert_allclose(
        fast, slow_nats(train, text, vocabulary_size, max_order, boundary), rtol=0, atol=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(texts(), st.integers(1, 5), st.none() | st.integers(0, 2))
def test_ngram_of_a_whole_text_agrees_with_one_distribution_at_a_time(drawn, order, boundary):
    train, text, vocabulary_size = drawn
    ngram = NGram.count(ids(train), vocabulary_size, 6, boundary).up_to(order)
    predicted, context = ngram.predict(ids(text)), [0]
    for place, (last, character) in enumerate(itertools.pairwise(text)):
        context = ngram.read(context, last)
        probabilities, longest = ngram.distribution(context)
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert -math.log(probabilities[character]) == pytest.approx(
            predicted.nats[order - 1, place], abs=1e-9
        )
        assert longest == predicted.context[place]


def test_ngram_of_lines_does_not_depend_on_their_order():
    lines = ["anna", "bob", "hannah", "ab", "banana"] * 3
    coded = [[0, *(ord(c) - 96 for c in line)] for line in lines]
    train, text = [*itertools.chain(*coded), 0], [*itertools.chain(*coded[::-1]), 0]
    back = [*itertools.chain(*sorted(coded)), 0]
    orders = [kneser_ney(ids(each), ids(text), 27, 6, 0).mean(axis=1) for each in (train, back)]
    np.testing.assert_allclose(*orders, rtol=1e-12)
    crossing = [kneser_ney(ids(each), ids(text), 27, 6).mean(axis=1) for each in (train, back)]
    assert abs(crossing[0] - crossing[1]).max() > 1e-3


def zipf(length: int, seed: int, vocabulary_size: int = 30) -> list[int]:
    weights = [1 / i for i in range(1, vocabulary_size)]
    return random.Random(seed).choices(range(1, vocabulary_size), weights, k=length)


def test_ngram_agrees_with_its_slow_twin_with_estimated_discounts():
    train, text = zipf(4000, seed=1), zipf(60, seed=2)
    estimated = [SlowKneserNey(train, 30, n).discounts[n] != FALLBACK_DISCOUNTS for n in (2, 3)]
    assert any(estimated)
    np.testing.assert_allclose(
        kneser_ney(ids(train), ids(text), 30, 6), slow_nats(train, text, 30, 6), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("train", [[], [1], [1, 2, 1], [1, 2, 2, 1, 3] * 3, zipf(400, 3, 4)])
def test_every_distribution_sums_to_one_without_zeros(train):
    vocabulary_size = 5  # 0 and 4 are not in the training texts
    for length in (1, 2, 3):
        for context in itertools.product(range(vocabulary_size), repeat=length):
            next_ones = [ids([*context, w]) for w in range(vocabulary_size)]
            ngram = [
                np.exp(-kneser_ney(ids(train), text, vocabulary_size, 5))[:, -1]
                for text in next_ones
            ]
            assert np.min(ngram) > 0
            np.testing.assert_allclose(np.sum(ngram, axis=0), 1, rtol=0, atol=1e-12)
    one = [np.exp(-unigram(ids(train), ids([0, w]), vocabulary_size)) for w in range(5)]
    assert np.min(one) > 0
    assert np.sum(one) == pytest.approx(1, abs=1e-12)


def test_one_order_worked_by_hand():
    # c(1) = 1, so D1 falls back to 0.5, which is shared by three ids.
    nats = kneser_ney(ids([1]), ids([0, 1, 2]), 3, 1)
    np.testing.assert_allclose(np.exp(-nats), [[0.5 + 0.5 / 3, 0.5 / 3]])


def test_discounts_worked_by_hand():
    # n1..n4 = 4, 2, 1, 1: Y = 4 / 8
    np.testing.assert_allclose(_discounts(ids([1, 1, 1, 1, 2, 2, 3, 4])), [0, 0.5, 1.25, 1])


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [9, 9, 9],
        [1, 1, 1, 2, 2, 3],  # n4 is 0
        [1, 1, 2, 3, 3, 3, 3, 3, 4],  # D2 would be negative
    ],
)
def test_discounts_that_cannot_be_estimated_fall_back(counts):
    np.testing.assert_array_equal(_discounts(ids(counts)), [0, *FALLBACK_DISCOUNTS])


def all_of(train: list[int], text: list[int], vocabulary_size: int) -> dict[str, Baseline]:
    train_text, scored_text = ("".join(chr(97 + i) for i in seq) for seq in (train, text))
    return baselines(
        ids(train), ids(text), vocabulary_size, train_text=train_text, scored_text=scored_text
    )


@pytest.mark.parametrize("train", [[], [1], [1, 2], [1, 2, 1]])
@pytest.mark.parametrize("text", [[1, 2], [3, 3], [0, 1, 2, 3, 3, 2, 1, 0]])
def test_short_texts_give_finite_scores(train, text):
    for baseline in all_of(train, text, 4).values():
        assert 0 <= baseline.nats_per_char < math.inf
        assert baseline.perplexity >= 1


@pytest.mark.parametrize(
    ("train", "text", "vocabulary_size"), [([], [1, 2, 3], 4), ([0] * 7, [0] * 5, 1)]
)
def test_empty_training_text_or_one_character_gives_log_v(train, text, vocabulary_size):
    scores = all_of(train, text, vocabulary_size)
    for name in ("uniform", "unigram", "ngram"):
        assert scores[name].nats_per_char == pytest.approx(math.log(vocabulary_size), abs=1e-12)


def test_scores_units_and_the_order_chosen():
    train, text = [1, 2, 3, 0] * 50, [1, 2, 3, 0, 1, 2]
    scores = all_of(train, text, 5)
    assert list(scores) == ["uniform", "unigram", "ngram", "xz"]
    assert all(name == baseline.name for name, baseline in scores.items())
    assert scores["uniform"].perplexity == pytest.approx(5)
    assert scores["uniform"].bits_per_char == pytest.approx(math.log2(5))
    assert scores["unigram"].perplexity == pytest.approx(205 / 51)
    by_order = kneser_ney(ids(train), ids(text), 5, 6).mean(axis=1)
    assert scores["ngram"].nats_per_char == by_order.min()
    assert f"order {by_order.argmin() + 1}," in scores["ngram"].detail


def test_unknown_characters_are_charged():
    """Of the four scored characters two are unknown (id 0), and the first one is only context."""
    train, text = [1, 2, 3, 1] * 9, [0, 1, 0, 2, 0]
    kwargs = {"train_text": "abca" * 9, "scored_text": "xaybz"}
    free = baselines(ids(train), ids(text), 4, **kwargs)
    charged = baselines(ids(train), ids(text), 4, **kwargs, spelling=10.0)
    for name in ("uniform", "unigram", "ngram"):
        assert charged[name].nats_per_char == pytest.approx(free[name].nats_per_char + 5)
        assert charged[name].known_nats_per_char == free[name].known_nats_per_char
    assert charged["unigram"].known_nats_per_char == pytest.approx(
        (math.log(40 / 19) + math.log(40 / 10)) / 2
    )
    assert charged["uniform"].known_nats_per_char == pytest.approx(math.log(4))
    assert charged["xz"] == free["xz"]
    known = baselines(ids(train), ids([1, 2, 3]), 4, train_text="", scored_text="", spelling=10.0)
    assert all(other.known_nats_per_char is None for other in known.values())
    unknown = baselines(ids(train), ids([0, 0]), 4, **kwargs, spelling=10.0)
    assert unknown["ngram"].known_nats_per_char is None


def test_without_the_training_text_only_uniform_is_known():
    scores = baselines(None, ids([1, 2, 0]), 4, train_text="", scored_text="abc", spelling=10.0)
    assert [*scores] == ["uniform", "unigram", "ngram", "xz"]
    assert scores["uniform"].nats_per_char == pytest.approx(math.log(4) + 5)
    assert scores["unigram"] is scores["ngram"] is scores["xz"] is None


def test_xz_reads_the_training_text_first():
    noise = "".join(random.Random(0).choices("abcdefgh", k=30_000))
    other = "".join(random.Random(1).choices("abcdefgh", k=2_000))
    assert xz(noise, noise[:2_000]) < 0.05 * xz(noise, other)
    assert xz(noise, other) / 2_000 == pytest.approx(math.log(8), rel=0.15)
    assert xz("时间", "旅行者" * 9) > 0


@pytest.mark.parametrize("text", [[], [1]])
def test_text_without_a_character_to_predict_is_refused(text):
    with pytest.raises(CorpusError, match="nothing to predict"):
        all_of([1, 2], text, 3)


@pytest.mark.parametrize(
    ("train", "text", "max_order", "message"),
    [
        ([3], [1, 2], 6, "train has ids outside"),
        ([1], [-1, 2], 6, "text has ids outside"),
        ([1], [1, 1], 0, "max_order"),
    ],
)
def test_ids_outside_the_vocabulary_and_orders_below_one_are_refused(
    train, text, max_order, message
):
    with pytest.raises(ValueError, match=message):
        baselines(ids(train), ids(text), 3, train_text="", scored_text="", max_order=max_order)


def test_time_machine_has_its_known_perplexities(real_corpus):
    lines = real_corpus("timemachine.txt").read_text(encoding="utf-8").splitlines()
    text = "".join(re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in lines)  # as d2l 0.17
    assert len(text) == 170_580
    rank = {char: i for i, char in enumerate(sorted(set(text)), start=1)}
    tokens = ids(rank[char] for char in text)
    train, scored = tokens[:153_522], tokens[153_522:162_051]
    perplexities = np.exp(kneser_ney(train, scored, 28, 7).mean(axis=1))
    np.testing.assert_allclose(perplexities[3:], [4.98, 4.31, 4.15, 4.14], rtol=0, atol=0.01)
