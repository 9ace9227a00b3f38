"""The classifier: features of the outputs over time, by hand and against a slow twin."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from charlm.corpus import Vocabulary
from charlm.corpus.words import WordVocabulary
from charlm.errors import UsageError
from charlm.tasks.classification.config import FEATURES, ClassificationConfig
from charlm.tasks.classification.model import Classifier, build_classifier
from charlm.tasks.classification.reviews import ReviewVocabulary
from charlm.tasks.classification.scores import batch_inputs
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.sequences import Sequences

CPU = torch.device("cpu")
CLOSE = {"rtol": 0, "atol": 1e-12}
LENGTH, WORDS, BUCKETS = 7, 12, 31
TEXTS = ([3, 4, 5, 6, 2, 1, 7], [2], [9, 9, 1, 8], [4, 3])
DROPOUTS = ("input_dropout", "dropout", "output_dropout", "weight_dropout")
SMALL = {
    "ngrams": 1,
    "features": "last",
    "initialisation": "torch",
    "buckets": BUCKETS,
    "hidden_size": 5,
    "embedding_size": 3,
    "bidirectional": False,
    **dict.fromkeys((*DROPOUTS, "word_dropout"), 0.0),
}

features_kinds = pytest.mark.parametrize("features", FEATURES)
paddings = pytest.mark.parametrize("padding", ["before", "after"])
skipped = pytest.mark.parametrize("skip", [True, False], ids=["skipped", "read"])
directions = pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "one way"])


def vocabulary_of(classes: int, words: int = WORDS) -> ReviewVocabulary:
    known = tuple(f"word{number}" for number in range(words - 2))
    return ReviewVocabulary(WordVocabulary(known), tuple(map(str, range(classes))))


def new_model(
    classes: int = 2, *, words: int = WORDS, length: int = LENGTH, **settings
) -> Classifier:
    layer = {"corpus": {"length": length}, "model": {**SMALL, **settings}}
    return build_classifier(
        ClassificationConfig.from_settings([layer]), vocabulary_of(classes, words)
    )


def model_of(classes: int = 2, **settings) -> Classifier:
    """A model in float64 and in evaluation mode, with n-gram vectors that are not zero."""
    model = new_model(classes, **settings).double().eval()
    for table in model.ngrams.parameters():
        nn.init.normal_(table)
    return model


def texts_of(parts=TEXTS) -> Sequences:
    return Sequences([torch.tensor(part) for part in parts], CPU)


@torch.no_grad()
def logits_of(model: Classifier, parts=TEXTS) -> torch.Tensor:
    return model(*batch_inputs(model, texts_of(parts), torch.arange(len(parts))))


def embedded(model: Classifier, ids: list[int]) -> torch.Tensor:
    """(T, 1, E): the vector of each token plus the vectors of the n-grams that end at it."""
    assert model.embedding is not None
    rows = []
    for place, token in enumerate(ids):
        row = model.embedding.weight[token]
        for n, table in enumerate(model.ngrams, 2):
            hashed = token
            for back in range(1, n):
                earlier = ids[place - back] if place >= back else 0
                hashed = (hashed * 1_000_003 + earlier) % (2**31 - 1)
            row = row + table.weight[hashed % BUCKETS]
        rows.append(row)
    return torch.stack(rows).unsqueeze(1)


@torch.no_grad()
def twin(model: Classifier, ids: list[int]) -> torch.Tensor:
    """(C,) logits of one text, computed without a batch and without lengths."""
    missing = model.length - len(ids)
    if not model.skip_padding:
        padding = [0] * missing
        ids, missing = (padding + ids if model.padding == "before" else ids + padding), 0
    xs = torch.tensor(ids).unsqueeze(1) if model.embedding is None else embedded(model, ids)
    outputs = model.stack(xs, model.stack.initial_state(1))[0][:, 0]  # (T, O)
    half = outputs.shape[1] // 2
    if model.features == "last":
        found = outputs[-1]
        if model.stack.bidirectional:
            found = torch.cat([outputs[-1, :half], outputs[0, half:]])
    elif model.features == "all":
        zeros = torch.zeros(missing, outputs.shape[1])
        found = torch.cat([zeros, outputs] if model.padding == "before" else [outputs, zeros])
        found = found.flatten()
    else:
        parts = {"mean": outputs.mean(0), "max": outputs.max(0).values}
        found = torch.cat([parts[name] for name in model.features.split("-")])
    if model.mean is not None:
        found = (found - model.mean) / model.deviation
    if model.dense is not None:
        found = torch.relu(model.dense(found))
    logits = model.head(found)
    return torch.cat([torch.zeros(1), logits]) if len(logits) == 1 else logits


@features_kinds
@paddings
@skipped
@directions
@pytest.mark.parametrize(
    "network",
    [
        {},
        {"cell": "gru", "num_layers": 2, "ngrams": 3, "dense_size": 4},
        {"cell": "jordan", "backend": "scratch", "embedding": "one-hot"},
        {"cell": "lstm-peephole", "backend": "scratch", "ngrams": 2},
    ],
    ids=["lstm", "gru", "jordan", "peephole"],
)
def test_logits_are_those_of_the_twin(features, padding, skip, bidirectional, network):
    model = model_of(
        3,
        features=features,
        padding=padding,
        skip_padding=skip,
        bidirectional=bidirectional,
        **network,
    )
    expected = torch.stack([twin(model, text) for text in TEXTS])
    torch.testing.assert_close(logits_of(model), expected, **CLOSE)
    for numbers in ([3, 1], [0], [2, 2, 0]):
        some = [TEXTS[number] for number in numbers]
        torch.testing.assert_close(logits_of(model, some), expected[numbers], **CLOSE)


@features_kinds
@skipped
@pytest.mark.parametrize("dense_size", [0, 4])
def test_standardised_features(features, skip, dense_size):
    """Mean 0 and deviation 1 over the texts. A feature that is the same in all is only shifted."""
    model = model_of(
        3,
        features=features,
        skip_padding=skip,
        standardise=True,
        dense_size=dense_size,
        output_dropout=0.5,
        length=LENGTH + 1,
    )
    before = torch.stack([twin(model, text) for text in TEXTS])
    torch.testing.assert_close(logits_of(model), before, **CLOSE)
    rows = batch_inputs(model, texts_of(), torch.arange(len(TEXTS)))
    state = torch.get_rng_state()
    model.train().fit_normaliser(*rows)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    seen = []
    reader = model.head if model.dense is None else model.dense
    reader.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    found = logits_of(model.eval())
    expected = torch.stack([twin(model, text) for text in TEXTS])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert not torch.allclose(found, before)
    (given, *_) = seen
    assert given.mean(0).abs().max() < 1e-9
    alike = given.std(0) < 1e-9
    assert bool(alike.any()) == (features == "all" and skip)
    assert (given.std(0)[~alike] - 1).abs().max() < 1e-9
    assert (model.deviation[alike] == 1).all()
    longer = logits_of(model, [[3] * (LENGTH + 1)])
    assert longer.abs().max() < 1e3
    assert model.num_parameters() == sum(
        each.numel() for name, each in model.named_parameters() if name not in ("mean", "deviation")
    )


@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
def test_normaliser_that_is_not_fitted_changes_nothing(initialisation):
    model = model_of(standardise=True, initialisation=initialisation)
    assert not model.mean.any()
    assert (model.deviation == 1).all()


def counting(head: list[list[float]], **settings) -> Classifier:
    """A model whose outputs are the sums of the ids read so far, where the padding adds 0.

    Args:
        head: the weights of the head.
    """
    model = model_of(
        len(head),
        embedding="one-hot",
        cell="rnn-relu",
        backend="scratch",
        hidden_size=1,
        length=3,
        **settings,
    ).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("weight_input"):
            parameter.copy_(torch.arange(WORDS).unsqueeze(1))
        elif name.endswith("weight_hidden"):
            parameter.fill_(1)
        elif name == "head.weight":
            parameter.copy_(torch.tensor(head))
        else:
            parameter.zero_()
    return model


ONE = [[1.0], [10.0], [100.0]]
TWO = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
THREE = torch.eye(3).tolist()


@pytest.mark.parametrize(
    ("settings", "head", "long", "short"),
    [
        # the sums are 3, 4, 8 for the ids 3, 1, 4, and 2, 7 for 2, 5
        ({"features": "last"}, ONE, [8, 80, 800], [7, 70, 700]),
        ({"features": "mean"}, ONE, [5, 50, 500], [4.5, 45, 450]),
        ({"features": "max"}, ONE, [8, 80, 800], [7, 70, 700]),
        ({"features": "mean-max"}, TWO, [5, 8, 13], [4.5, 7, 11.5]),
        ({"features": "all"}, THREE, [3, 4, 8], [2, 7, 0]),
        ({"features": "all", "padding": "before"}, THREE, [3, 4, 8], [0, 2, 7]),
        # the padding does not change the sum
        ({"features": "last", "skip_padding": False}, ONE, [8, 80, 800], [7, 70, 700]),
        (
            {"features": "mean", "skip_padding": False},
            ONE,
            [5, 50, 500],
            [16 / 3, 160 / 3, 1600 / 3],
        ),
        ({"features": "all", "skip_padding": False}, THREE, [3, 4, 8], [2, 7, 7]),
        (
            {"features": "mean", "skip_padding": False, "padding": "before"},
            ONE,
            [5, 50, 500],
            [3, 30, 300],
        ),
        (
            {"features": "all", "skip_padding": False, "padding": "before"},
            THREE,
            [3, 4, 8],
            [0, 2, 7],
        ),
        # the backward sums are 8, 5, 4 and 7, 5
        ({"features": "last", "bidirectional": True}, TWO, [8, 8, 16], [7, 7, 14]),
        ({"features": "mean", "bidirectional": True}, TWO, [5, 17 / 3, 32 / 3], [4.5, 6, 10.5]),
    ],
)
def test_features_by_hand(settings, head, long, short):
    found = logits_of(counting(head, **settings), [[3, 1, 4], [2, 5]])
    torch.testing.assert_close(found, torch.tensor([long, short], dtype=torch.float64), **CLOSE)


def test_maximum_ignores_the_padding():
    """With negative outputs, the zeros of the padding would be the maximum."""
    model = counting(ONE, features="max", skip_padding=True)
    cell = model.stack.layers[0].cell
    cell._activation, cell.kernel = torch.neg, lambda: None
    assert logits_of(model, [[3, 1, 4], [2]])[1].tolist() == [-2, -20, -200]


def test_hashes_of_ngrams_by_hand():
    model = model_of(ngrams=3).requires_grad_(False)
    nn.init.zeros_(model.embedding.weight)
    xs = model.embed(torch.tensor([[3], [5], [3]]))
    bigrams, trigrams = (table.weight for table in model.ngrams)
    prime = 2**31 - 1
    pairs = [3 * 1_000_003, 5 * 1_000_003 + 3, 3 * 1_000_003 + 5]
    triples = [
        pair % prime * 1_000_003 + earlier for pair, earlier in zip(pairs, (0, 0, 3), strict=True)
    ]
    for place in range(3):
        expected = bigrams[pairs[place] % prime % BUCKETS]
        expected = expected + trigrams[triples[place] % prime % BUCKETS]
        assert torch.equal(xs[place, 0], expected)


def test_order_of_two_words_is_in_their_bigram():
    model = model_of(ngrams=2, buckets=65_536)
    there, back = (model.embed(torch.tensor([[a], [b]]))[1] for a, b in ((3, 5), (4, 5)))
    assert not torch.equal(there, back)


def test_vectors_of_ngrams_are_zero_at_first():
    model = new_model(ngrams=4)
    assert len(model.ngrams) == 3
    assert not any(table.any() for table in model.ngrams.parameters())


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (3, 3), (5, 5)])
def test_two_classes_have_one_logit(classes, outputs):
    model = model_of(classes)
    assert model.head.out_features == outputs
    found = logits_of(model)
    assert found.shape == (len(TEXTS), classes)
    if classes == 2:
        assert not found[:, 0].any()
        assert found[:, 1].all()


def test_parameters_of_the_published_networks():
    """378,000 and 322,000, computed from the sizes of the layers."""
    layers = {"length": 256, "hidden_size": 64, "embedding_size": 32, "dense_size": 64}
    bilstm = new_model(words=10_000, **layers, backend="scratch", bidirectional=True)
    assert bilstm.num_parameters() == 10_000 * 32 + 2 * 4 * 64 * (32 + 64 + 1) + 129 * 64 + 65
    assert bilstm.num_parameters() == 377_985
    torchs = new_model(words=10_000, **layers, bidirectional=True)
    assert torchs.num_parameters() == 377_985 + 2 * 4 * 64  # torch has a second bias
    simple = {"cell": "rnn", "backend": "scratch", "hidden_size": 32, "embedding_size": 32}
    last = new_model(words=10_000, **simple)
    assert last.num_parameters() == 320_000 + 32 * (32 + 32 + 1) + 33
    every = new_model(words=10_000, **simple, features="all", length=500)
    assert every.num_parameters() == 320_000 + 2080 + 500 * 32 + 1


def test_word_dropout_draws_random_numbers_only_in_training():
    model = model_of(word_dropout=0.5)
    before = torch.get_rng_state()
    first = logits_of(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logits_of(model), first)
    model.train()
    assert not torch.equal(logits_of(model), logits_of(model))
    without = model_of().train()
    before = torch.get_rng_state()
    logits_of(without)
    assert torch.equal(torch.get_rng_state(), before)


@skipped
def test_word_dropout_makes_words_unknown_and_leaves_the_padding(monkeypatch, skip):
    model, seen = model_of(word_dropout=0.25, length=2000, skip_padding=skip).train(), []
    monkeypatch.setattr(
        model, "embed", lambda ids: seen.append(ids) or Classifier.embed(model, ids)
    )
    text, short = [5] * 2000, [6] * 500
    logits_of(model, [text, short])
    (ids,) = seen
    assert set(ids[:, 0].tolist()) == {1, 5}
    assert 0.2 < float((ids[:, 0] == 1).double().mean()) < 0.3
    assert set(ids[:500, 1].tolist()) == {1, 6}
    assert not ids[500:, 1].any()


def test_dropped_words_are_unknown_in_their_bigrams_too():
    model = model_of(word_dropout=0.999, ngrams=2).train()
    torch.manual_seed(0)
    found = logits_of(model, [[5, 6, 7]])
    torch.testing.assert_close(found, logits_of(model.eval(), [[1, 1, 1]]), **CLOSE)


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_works_only_in_training(name):
    model = model_of(num_layers=2, **{name: 0.5})
    plain = logits_of(model)
    assert torch.equal(logits_of(model), plain)
    assert not torch.equal(logits_of(model.train()), plain)


@features_kinds
@skipped
def test_every_weight_learns(features, skip):
    model = model_of(
        3,
        features=features,
        skip_padding=skip,
        ngrams=2,
        dense_size=4,
        num_layers=2,
        bidirectional=True,
        word_dropout=0.1,
    ).train()
    logits = model(*batch_inputs(model, texts_of(), torch.arange(4)))
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.any(), name


@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
def test_first_weights(initialisation):
    torch.manual_seed(5)
    model = new_model(3, initialisation=initialisation, ngrams=2)
    torch.manual_seed(5)
    again = new_model(3, initialisation=initialisation, ngrams=2)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    largest = float(model.embedding.weight.detach().abs().max())
    assert largest < {"torch": 0.1, "book": 0.05, "glorot": 0.05}[initialisation]
    assert largest > {"torch": 0.06, "book": 0.01, "glorot": 0.03}[initialisation]
    forget = model.stack.layers[0].network.bias_ih_l0.detach()[5:10]
    assert torch.equal(forget, torch.ones(5)) == (initialisation == "glorot")
    assert not model.ngrams[0].weight.any()


@pytest.mark.parametrize(("hidden_size", "size"), [(5, 5), (64, 64), (100, 64)])
def test_default_size_of_an_embedding(hidden_size, size):
    model = new_model(embedding_size=None, hidden_size=hidden_size)
    assert model.embedding.embedding_dim == size


def test_frozen_parameters_are_not_counted():
    model = model_of(3, from_run="run", freeze=True, ngrams=2, dense_size=4)
    learning = {name for name, each in model.named_parameters() if each.requires_grad}
    assert learning == {"dense.weight", "dense.bias", "head.weight", "head.bias"}
    assert model.num_parameters() == 5 * 4 + 4 + 4 * 3 + 3


# Built from a configuration, and from a language model's layers


def test_built_from_a_configuration():
    config = ClassificationConfig.from_settings(
        [
            {
                "corpus": {"length": 30},
                "model": {
                    "cell": "gru",
                    "hidden_size": 6,
                    "features": "all",
                    "padding": "before",
                    "skip_padding": False,
                    "dense_size": 3,
                    "ngrams": 1,
                },
            }
        ]
    )
    model = build_classifier(config, vocabulary_of(4))
    assert (model.length, model.unknown, model.padding) == (30, 1, "before")
    assert not model.skip_padding
    assert model.dense.in_features == 30 * 2 * 6
    assert model.head.out_features == 4
    characters = dataclasses.replace(vocabulary_of(4), tokens=Vocabulary.from_text("abc"))
    assert build_classifier(config, characters).unknown == 0


@pytest.mark.parametrize("embedding", ["one-hot", "learned", "tied"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("weight_dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("cell", "backend"),
    [
        ("lstm", "torch"),
        ("rnn", "torch"),
        ("gru", "scratch"),
        ("jordan", "scratch"),
    ],
)
def test_layers_of_a_language_model_compute_the_same_in_a_classifier(
    embedding, num_layers, weight_dropout, cell, backend
):
    ngrams = {"ngram_order": 4 if embedding == "learned" else 1, "ngram_rows": 30}
    source = build_language_model(
        LanguageModelSection(
            cell=cell,
            backend=backend,
            hidden_size=5,
            num_layers=num_layers,
            embedding=embedding,
            weight_dropout=weight_dropout,
            **ngrams,
        ),
        WORDS,
    ).double()
    if source.ngrams is not None:
        torch.nn.init.normal_(source.ngrams.table)
    model = model_of(
        cell=cell,
        backend=backend,
        num_layers=num_layers,
        embedding="one-hot" if embedding == "one-hot" else "learned",
        embedding_size=5,
        from_run="run",
        **ngrams,
    )
    before = {name: each.clone() for name, each in source.named_parameters()}
    head = model.head.weight.clone()
    model.take_layers(source)
    ids = torch.tensor(TEXTS[0]).unsqueeze(1)
    source.eval()
    expected, _ = source.stack(*source.vectors(ids, source.initial_state(1))[:2])
    found, _ = model.stack(model.embed(ids), model.initial_state(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert torch.equal(model.head.weight, head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for name, parameter in source.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize(
    "other",
    [
        {"hidden_size": 6},
        {"cell": "gru"},
        {"num_layers": 2},
        {"embedding": "one-hot", "embedding_size": None},
        {"embedding_size": 4},
    ],
    ids=str,
)
def test_layers_of_other_kinds_and_sizes_are_refused(other):
    settings = {"hidden_size": 5, "embedding_size": 3}
    model = model_of()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(UsageError, match="not those of the run"):
        model.take_layers(
            build_language_model(LanguageModelSection(**{**settings, **other}), WORDS)
        )
    assert all(map(torch.equal, before, model.parameters()))
    model.take_layers(build_language_model(LanguageModelSection(**settings), WORDS).double())


def test_hash_collisions_are_few():
    """Most of the pairs of the 200 most frequent words have their own bucket."""
    model = new_model(words=202, ngrams=2, buckets=65_536, embedding_size=1)
    nn.init.zeros_(model.embedding.weight)
    with torch.no_grad():
        model.ngrams[0].weight.copy_(torch.arange(65_536.0).unsqueeze(1))
    words = torch.arange(2, 202)
    pairs = torch.stack([words.repeat_interleave(200), words.repeat(200)])  # (2, 40,000)
    counts = model.embed(pairs)[1].flatten().int().bincount()
    by_chance = 65_536 * (1 - (1 - 1 / 65_536) ** 40_000)
    assert int((counts > 0).sum()) > 0.8 * by_chance
    assert int(counts.max()) < 10
