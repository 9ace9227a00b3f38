"""The tagger against a slow twin that reads one sentence at a time, word by word."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from charlm.corpus.words import WordVocabulary, normalise_word
from charlm.optimisation.optimisers import build_optimiser
from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.cells import CELLS
from charlm.recurrent.unroll import Unrolled
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.model import build_tagger
from charlm.tasks.tagging.scores import Sentences
from charlm.tasks.tagging.slots import TaggerVocabulary, parts_of

CPU = torch.device("cpu")
NETWORKS = [
    *((cell, "scratch") for cell in CELLS),
    *((cell, "torch") for cell, kind in CELLS.items() if kind.torch),
]
VOCABULARY = TaggerVocabulary(
    WordVocabulary(("from", "to", "boston", "00:00")), ("O", "B-a", "B-b", "I-a")
)
SENTENCES = [
    ["from", "Boston", "to", "Oakland", "9:30"],
    ["to"],
    ["unseen", "boston", "unseenly"],
    ["from", "from", "BOSTON", "8:15", "x", "to", "y"],
]
SIZES = {"hidden_size": 5, "embedding_size": 4, "dropout": 0.0}


def config_of(corpus=None, **model) -> TaggingConfig:
    return TaggingConfig.from_settings([{"model": SIZES}, {"corpus": corpus or {}, "model": model}])


def tagger(config, seed=0):
    """A tagger in float64, so that the order of sums matters less than the tolerance."""
    torch.manual_seed(seed)
    return build_tagger(config, VOCABULARY).double().eval()


def inputs(config, sentences=SENTENCES, rows=None):
    read = Sentences(sentences, VOCABULARY, config.corpus, CPU)
    return read.inputs(torch.arange(len(sentences)) if rows is None else torch.tensor(rows))


# The twin


def vector(model, config, word):
    """A word's own vector plus the vectors of its parts, added one by one."""
    known = normalise_word(word) in VOCABULARY.words.words
    found = model.embedding.weight[
        VOCABULARY.words.words.index(normalise_word(word)) + 2 if known else 1
    ]
    if model.parts is not None:
        for part in parts_of(word, config.corpus):
            found = found + model.parts.weight[part]
    return found


def walk(layer, xs):
    """The outputs of a layer in one direction, a step at a time."""
    state, outputs = layer.initial_state(1), []
    for x in xs:
        if isinstance(layer, Unrolled):
            output, state = layer.cell(x.unsqueeze(0), state)
        else:
            output, state = layer(x.view(1, 1, -1), state)
        outputs.append(output.flatten())
    return outputs


def twin(model, config, sentence):
    """(T, K) logits."""
    xs = [vector(model, config, word) for word in sentence]
    zeros = [torch.zeros_like(xs[0])] * config.model.window
    around = [*zeros, *xs, *zeros]
    xs = [torch.cat(around[at : at + 2 * len(zeros) + 1]) for at in range(len(sentence))]
    for layer in model.stack.layers:
        if isinstance(layer, Bidirectional):
            ahead = walk(layer.forward_layer, xs)
            back = walk(layer.backward_layer, xs[::-1])[::-1]
            xs = [torch.cat(both) for both in zip(ahead, back, strict=True)]
        else:
            xs = walk(layer, xs)
    return torch.stack([model.head.weight @ x + model.head.bias for x in xs])


def check(config, sentences=SENTENCES):
    model = tagger(config)
    logits = model(inputs(config, sentences))
    assert logits.shape == (max(map(len, sentences)), len(sentences), len(VOCABULARY.tags))
    for row, sentence in enumerate(sentences):
        expected = twin(model, config, sentence)
        torch.testing.assert_close(logits[: len(sentence), row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("cell", "backend"), NETWORKS)
def test_logits_are_those_of_the_twin(cell, backend, bidirectional):
    network = {"cell": cell, "backend": backend, "bidirectional": bidirectional}
    for depth in (1, 2):
        for window in (0, 1, 2):
            check(config_of(num_layers=depth, window=window, **network))


@pytest.mark.parametrize("shapes", [False, True])
@pytest.mark.parametrize("ngrams", [(), (1,), (2, 3, 4), (30,)])
def test_twin_agrees_for_all_parts_of_words(ngrams, shapes):
    """A word can be shorter than all n-grams. With few buckets, parts share a vector."""
    for buckets in (1, 7, 2000):
        config = config_of({"ngrams": ngrams, "shapes": shapes, "buckets": buckets}, window=1)
        check(config)
        check(config, [["a"]])
        assert (tagger(config).parts is None) == (not ngrams and not shapes)


@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
def test_twin_agrees_for_all_initialisations(initialisation):
    check(config_of(initialisation=initialisation, bidirectional=True))


def test_window_wider_than_every_sentence():
    check(config_of(window=9), [["to"], ["to", "boston"]])


# Rows


@pytest.mark.parametrize(
    ("cell", "backend"), [("lstm", "torch"), ("jordan", "scratch"), ("gru", "scratch")]
)
def test_rows_do_not_depend_on_the_batch(cell, backend):
    config = config_of(cell=cell, backend=backend, window=1, num_layers=2)
    model = tagger(config)
    together = model(inputs(config))
    for rows in ([3], [1, 0], [2, 2, 1], [0, 1, 2, 3]):
        logits = model(inputs(config, rows=rows))
        for column, row in enumerate(rows):
            length = len(SENTENCES[row])
            torch.testing.assert_close(
                logits[:length, column], together[:length, row], rtol=0, atol=1e-12
            )


def gradients(model, config, rows, tags=1):
    """The gradients of the summed cross-entropy over the words of some sentences."""
    batch = inputs(config, rows=rows)
    valid = torch.arange(len(batch.words)).unsqueeze(1) < batch.lengths
    model.zero_grad()
    logits = model(batch)[valid]
    F.cross_entropy(logits, torch.full((len(logits),), tags), reduction="sum").backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("cell", "backend"), [("lstm", "torch"), ("lstm-peephole", "scratch"), ("jordan", "scratch")]
)
def test_padding_has_no_gradient(cell, backend):
    """The gradients of a padded batch are the sums of the gradients of its sentences."""
    config = config_of({"shapes": True}, cell=cell, backend=backend, window=2, num_layers=2)
    model = tagger(config)
    together = gradients(model, config, [0, 1, 2, 3])
    alone = [gradients(model, config, [row]) for row in range(4)]
    for name, gradient in together.items():
        torch.testing.assert_close(
            gradient, torch.stack([each[name] for each in alone]).sum(0), rtol=0, atol=1e-12
        )
    assert not together["embedding.weight"][0].any()
    assert not together["parts.weight"][config.corpus.buckets].any()
    assert together["embedding.weight"][1].any()


def test_content_of_the_padding_is_ignored():
    config = config_of(window=1, num_layers=2)
    model, batch = tagger(config), inputs(config)
    valid = torch.arange(len(batch.words)).unsqueeze(1) < batch.lengths
    other = batch._replace(
        words=batch.words.where(valid, torch.tensor(3)),
        places=batch.places.where(valid, batch.places.max()),
    )
    assert torch.equal(model(other)[valid], model(batch)[valid])
    assert model(batch)[~valid].unique(dim=0).tolist() == [model.head.bias.tolist()]


# Words


def last_logits(model, config, word):
    return model(inputs(config, [["to", word]]))[-1, 0]


def test_unknown_words_differ_by_their_ngrams():
    config = config_of()
    model = tagger(config)
    one, other = (last_logits(model, config, word) for word in ("oakland", "atlanta"))
    assert not torch.allclose(one, other)
    blind = config_of({"ngrams": []})
    model = tagger(blind)
    one, other = (last_logits(model, blind, word) for word in ("oakland", "atlanta"))
    assert torch.equal(one, other)
    assert not torch.allclose(one, last_logits(model, blind, "boston"))


@pytest.mark.parametrize(("left", "right"), [("boston", "BOSTON"), ("9:30", "8:15")])
def test_words_that_differ_by_case_or_digits_are_the_same(left, right):
    config = config_of()
    model = tagger(config)
    assert torch.equal(last_logits(model, config, left), last_logits(model, config, right))


def test_name_differs_from_a_word_by_its_shape():
    config = config_of({"shapes": True})
    model = tagger(config)
    small, capital = (last_logits(model, config, word) for word in ("boston", "Boston"))
    assert not torch.allclose(small, capital)
    same = last_logits(model, config, "9:30"), last_logits(model, config, "8:15")
    assert torch.equal(*same)


def test_word_dropout_makes_words_unknown_and_leaves_their_parts():
    config = config_of(input_dropout=0, output_dropout=0, word_dropout=0.9999999)
    model, batch = tagger(config), inputs(config)
    unknown = batch._replace(words=torch.ones_like(batch.words))
    expected = model(unknown)
    assert not torch.allclose(model(batch), expected)  # none in evaluation
    assert torch.equal(model.train()(batch), expected)
    blind = config_of({"ngrams": ()}, input_dropout=0, output_dropout=0, word_dropout=0.25)
    model = tagger(blind).train()
    many = inputs(blind, [["to"]] * 4000)
    logits = model(many).flatten(0, 1)
    whole = model.eval()(many).flatten(0, 1)
    dropped = (~torch.isclose(logits, whole)).any(1).float().mean()
    assert float(dropped) == pytest.approx(0.25, abs=0.03)


# The parameters


@pytest.mark.parametrize("bidirectional", [False, True])
def test_number_of_parameters(bidirectional):
    config = config_of(
        {"buckets": 11}, cell="gru", backend="torch", window=2, bidirectional=bidirectional
    )
    size, ways = 5 * 4, 1 + bidirectional  # of a step: five words of four features
    gru = 3 * 5 * (size + 5 + 2)
    expected = 6 * 4 + 12 * 4 + ways * gru + 4 * (ways * 5 + 1)
    assert build_tagger(config, VOCABULARY).num_parameters() == expected
    bare = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, ngrams=()))
    assert build_tagger(bare, VOCABULARY).num_parameters() == expected - 12 * 4


def test_default_size_of_an_embedding_is_the_hidden_size():
    config = TaggingConfig.from_settings([{"model": {"embedding_size": None, "hidden_size": 7}}])
    assert build_tagger(config, VOCABULARY).embedding.embedding_dim == 7


@pytest.mark.parametrize(
    ("initialisation", "own", "part"),
    [("torch", 1.0, 0.2), ("book", 0.01, 0.01), ("glorot", 0.05 / 3**0.5, 0.05 / 3**0.5)],
)
def test_first_vectors_of_words_and_parts(initialisation, own, part):
    config = config_of({"buckets": 3000}, embedding_size=50, initialisation=initialisation)
    vocabulary = dataclasses.replace(
        VOCABULARY, words=WordVocabulary(tuple(f"w{index}" for index in range(3000)))
    )
    model = build_tagger(config, vocabulary)
    assert float(model.embedding.weight.detach().std()) == pytest.approx(own, rel=0.02)
    assert float(model.parts.weight.detach()[:-1].std()) == pytest.approx(part, rel=0.02)


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("initialisation", ["torch", "book", "glorot"])
def test_padding_of_the_parts_is_and_stays_zero(initialisation, optimiser):
    config = config_of({"buckets": 9}, initialisation=initialisation)
    model = build_tagger(config, VOCABULARY).train()
    assert not model.parts.weight[9].any()
    before = model.parts.weight.detach().clone()
    updater = build_optimiser(optimiser, model, lr=0.1, beta1=0.9, beta2=0.999, weight_decay=0.1)
    for _ in range(3):
        updater.zero_grad()
        model(inputs(config)).sum().backward()
        updater.step()
    assert not model.parts.weight[9].any()
    assert (model.parts.weight[:9] != before[:9]).any()


@pytest.mark.parametrize(("cell", "backend"), NETWORKS)
def test_gradients_in_bfloat16(cell, backend):
    """With all dropouts, in both directions, in two layers."""
    config = config_of(
        cell=cell, backend=backend, num_layers=2, dropout=0.2, weight_dropout=0.2, window=1
    )
    model = build_tagger(config, VOCABULARY).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(inputs(config)).float()
    assert logits.isfinite().all()
    logits.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()


def test_tagger_can_be_built_on_the_meta_device():
    """So are the weights of a run folder checked before they are loaded."""
    config = config_of({"buckets": 1_000_000}, num_layers=2, initialisation="glorot")
    with torch.device("meta"):
        huge = build_tagger(config, VOCABULARY)
    assert {parameter.device.type for parameter in huge.parameters()} == {"meta"}
    assert isinstance(huge.parts, nn.EmbeddingBag)
    assert huge.parts.weight.shape == (1_000_001, 4)
