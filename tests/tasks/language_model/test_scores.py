"""What the end of a training, and an evaluation, conclude."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from charlm.corpus import Vocabulary
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.language_model import conclusion as module
from charlm.tasks.language_model import scores
from charlm.tasks.language_model.conclusion import compared, conclude, likely_reason
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.corpus import Corpus
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.ngram import kneser_ney
from charlm.tasks.language_model.perplexity import ROW_LENGTH
from charlm.tasks.language_model.repeats import Repeated, Repeats


def run_of(
    epochs: float, vocabulary_size: int = 50, minutes: float | None = None
) -> SimpleNamespace:
    return SimpleNamespace(
        metrics=[{"epoch": epochs}],
        vocabulary=Vocabulary(tuple(map(chr, range(0x4E00, 0x4E00 + vocabulary_size - 1)))),
        task=LANGUAGE_MODEL,
        config=SimpleNamespace(training=SimpleNamespace(minutes=minutes, mix_ngram=False)),
    )


def corpus_of(*sizes: int) -> Corpus:
    vocabulary, ids = run_of(1).vocabulary, np.random.default_rng(0).integers(1, 50, sum(sizes))
    about = dict.fromkeys(("name", "source", "sha256"), "random")
    return Corpus(**about, cleaning="none", vocabulary=vocabulary, ids=ids, split_sizes=sizes)


def test_comparison_in_bits_and_percent():
    nats = math.log(2)
    assert compared(1.5 * nats, 2 * nats, "the n-gram") == (
        "the model is better than the n-gram by 0.500 bits per character (25.0%)"
    )
    assert compared(3 * nats, 2 * nats, "an n-gram") == (
        "the model is worse than an n-gram by 1.000 bits per character (50.0%)"
    )
    for model in (0.0, nats):  # no percentage of nothing, and none of thousands
        words = compared(model, model / 1e5, "the n-gram")
        assert words.endswith(f"by {model / nats:.3f} bits per character")


@pytest.mark.parametrize(
    ("epochs", "size", "training", "unknown", "worse", "reason"),
    [
        (40, 10**6, 0.0, 0.02, 0.01, "many characters are not in the training text"),
        (40, 10**6, 0.2, 0.0, 0.01, "the n-gram knows repeated passages by heart"),
        (
            0.006,
            10**6,
            0.2,
            0.0,
            0.01,
            "it has read only 0.6% of the training text, and the n-gram",
        ),
        (40, 9_999, 0.0, 0.0, 0.01, "9,999 training characters are few for 50 different ones"),
        (0.8, 10**6, 0.1, 0.01, 0.01, "it has read the training text only 0.8 times"),
        (1, 10_000, 0.0, 0.0, 0.01, "it has read the training text only once"),
        (40, 10_000, 0.0, 0.0, 0.06, "the network does not suit the text"),
        (40, 10_000, 0.0, 0.0, 0.008, None),
    ],
)
def test_the_likelylikely_reason(epochs, size, training, unknown, worse, reason):
    """None is needed for a model that is hardly worse."""
    repeated = Repeats({"32": Repeated(training, 0.9), "128": None}, (9, 9), (size, size))
    corpus = SimpleNamespace(split_sizes=(size, 9, 9))
    words = likely_reason(run_of(epochs), corpus, repeated, unknown, worse)
    assert words.startswith(f", probably because {reason}" if reason else ", so it comes close")
    assert "; " in words  # and what to try


def test_a_mixture_is_proposed_for_a_short_text():
    run, corpus = run_of(9), SimpleNamespace(split_sizes=(2000, 300, 300))
    assert likely_reason(run, corpus, None, 0.0, 0.1).endswith("n-gram: --resume --mix-ngram")
    run.config.training.mix_ngram = True
    assert likely_reason(run, corpus, None, 0.0, 0.1).endswith("use a longer text")


def test_conclusion_of_a_training():
    run, corpus = run_of(9), corpus_of(2000, 300, 300)
    by_order = kneser_ney(corpus.split("train"), corpus.split("valid"), 50, 6).mean(axis=1)
    report = conclude(run, corpus, 5.0)
    assert report.content["ngram_perplexity"] == pytest.approx(math.exp(by_order.min()))
    assert report.content["conclusion"].startswith(
        f"the model is better than an n-gram (perplexity {math.exp(by_order.min()):.3f}) by "
    )
    assert report.blocks[-1] == report.content["conclusion"]
    assert "probably" in conclude(run, corpus, 1000.0).content["conclusion"]
    nothing = conclude(run, corpus, None)
    assert set(nothing.content.values()) == {None}
    assert not nothing.blocks


def test_the_ngram_of_a_training_reads_a_bounded_sample(monkeypatch):
    """The end of the train split, and two parts of the validation split with their context."""
    monkeypatch.setattr(module, "SAMPLE_TRAIN", 500)
    monkeypatch.setattr(module, "SAMPLE_SCORED", 2 * ROW_LENGTH)
    run, corpus = run_of(9), corpus_of(2000, 9001, 300)
    train, valid = corpus.split("train")[-500:], corpus.split("valid")
    parts = [valid[: 1 + ROW_LENGTH], valid[4501 - 5 : 4501 + ROW_LENGTH]]
    nats = [kneser_ney(train, each, 50, 6) for each in parts]
    both = np.concatenate([nats[0], nats[1][:, 4:]], axis=1)
    expected = math.exp(both.mean(axis=1).min())
    report = conclude(run, corpus, 5.0)
    assert report.content["ngram_perplexity"] == pytest.approx(expected)
    assert (
        f"an n-gram of the last 500 of 2,000 training characters (perplexity {expected:.3f})"
        in report.content["conclusion"]
    )


@pytest.mark.parametrize(("minutes", "compared"), [(None, 1500), (0.1, 1200), (60, 1500)])
def test_the_repeats_of_a_short_training_are_those_of_a_part(monkeypatch, minutes, compared):
    monkeypatch.setattr(module, "REPEATS_TRAIN", 1500)
    monkeypatch.setattr(module, "REPEATS_PER_SECOND", 200)
    report = conclude(run_of(9, minutes=minutes), corpus_of(2000, 300, 300), 5.0)
    assert report.content["compared_train_characters"] == compared


def test_spelling_an_unknown_character():
    """Unicode has 1,112,064 characters; those of the vocabulary need no spelling."""
    assert Vocabulary(("a", "b")).spelling_nats == pytest.approx(math.log(1_112_062))
    assert Vocabulary(("\ud800",)).spelling_nats == pytest.approx(math.log(1_112_064))


def test_the_sample_of_a_larger_model_is_smaller():
    sizes = [
        scores.sample_size(build_language_model(LanguageModelSection(hidden_size=hidden), entries))
        for hidden, entries in ((8, 20), (384, 80), (384, 5000), (4096, 80))
    ]
    assert sizes[:2] == [500_000, 500_000]
    assert 100_000 < sizes[2] < 200_000
    assert sizes[3] == scores.LEAST
