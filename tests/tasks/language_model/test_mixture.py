"""A mixture of a network and an n-gram: its weights, its files, and what uses it."""

from __future__ import annotations

import itertools
import json
import math
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import charlm
from charlm.cli import run as command
from charlm.errors import CharlmError, RunError
from charlm.runs import Run
from charlm.runs.checkpoint import record
from charlm.runs.files import encode_json
from charlm.tasks.language_model.decoding import Decoding, generate_blocks
from charlm.tasks.language_model.mixture import (
    MANIFEST,
    MAX_ORDER,
    PRIOR,
    TENSORS,
    Mixture,
    _weights,
    fit,
    read_mixture,
)
from charlm.tasks.language_model.ngram import NGram
from charlm.tasks.language_model.perplexity import character_nats

SENTENCE = "the time traveller for so it will be convenient to speak of him was "
OPTIONS = {"epochs": 2, "hidden_size": 8, "batch_size": 4, "seq_len": 20, "progress": False}


@pytest.fixture(scope="module")
def text():
    words = random.Random(0).choices(SENTENCE.split(), k=800)
    return " ".join(words) + " " + SENTENCE * 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory, text):
    """A run of a running text, and one of lines, each with a mixture."""
    folder = tmp_path_factory.mktemp("mixtures")
    (folder / "text.txt").write_text(text)
    names = random.Random(1).choices(["anna", "hannah", "bob", "banana", "nan", "abba"], k=400)
    (folder / "lines.txt").write_text("".join(f"{name}\n" for name in names))
    return {
        name: charlm.train(
            folder / f"{name}.txt", run=folder / name, mix_ngram=True, lines=lines, **OPTIONS
        )
        for name, lines in (("text", False), ("lines", True))
    }


@pytest.fixture(params=["text", "lines"])
def run(request, runs):
    return runs[request.param]


# The weights


def test_weights_are_the_best_of_each_context():
    """With two lengths of a context, whose networks are good and bad; compared with a search."""
    draw = np.random.default_rng(0)
    network, ngram = draw.gamma(2.0, size=(2, 4000))
    contexts = draw.integers(0, 2, 4000)
    network[contexts == 1] += 1
    weights = _weights(network, ngram, contexts, 3)
    grid = np.linspace(0.001, 0.999, 999)[:, None]
    for length in (0, 1):
        chosen = contexts == length
        odds = (1 - grid) * np.exp(-network[chosen]) + grid * np.exp(-ngram[chosen])
        best = grid[np.log(odds).mean(axis=1).argmax(), 0]
        assert weights[length] == pytest.approx(best, abs=0.01)
    # A length that never occurs has the weight of all; PRIOR characters pull rare ones to it.
    assert min(weights[:2]) < weights[2] < max(weights[:2])
    assert _weights(network, ngram, contexts * 0 + 2, 3)[0] == pytest.approx(weights[2], abs=0.02)
    assert PRIOR > 0


def test_the_order_is_the_one_that_suits_the_validation_text():
    train, text = (np.random.default_rng(seed).integers(1, 4, 3000) for seed in (0, 1))
    scored = np.ones(2999, bool)
    noise = fit(np.full(2999, math.log(4)), NGram.count(train, 5, 6), text, scored, 3000)
    assert noise.order <= 2
    copied = fit(np.full(2999, math.log(4)), NGram.count(train, 5, 6), train, scored, 3000)
    assert copied.order == 6
    assert copied.weights.min() > 0.9


def test_a_mixture_is_a_distribution_and_scores_as_it_writes():
    """`logits`, one character at a time, and `nats` of the whole text."""
    draw = np.random.default_rng(2)
    train, text = draw.integers(1, 5, 400), draw.integers(1, 5, 30)
    ngram = NGram.count(train, 6, 4)
    mixture = Mixture(ngram=ngram, weights=np.array([0.1, 0.4, 0.7, 0.9]), learned_from=400)
    logits = torch.from_numpy(draw.normal(size=(29, 6)))
    network = -logits.log_softmax(1).numpy()[np.arange(29), text[1:]]
    nats, _ = mixture.nats(network, text)
    for place, (_, character) in enumerate(itertools.pairwise(text)):
        context = mixture.start(text[: place + 1].tolist())
        odds = mixture.logits(logits[place : place + 1], [context])[0]
        assert float(odds.exp().sum()) == pytest.approx(1)
        assert -float(odds[character]) == pytest.approx(nats[place])


# A run with a mixture


def test_a_training_ends_with_the_best_of_the_three(runs):
    about = runs["text"].summary()["mixture"]
    perplexities = {key: about[f"{key}_perplexity"] for key in ("network", "ngram", "mixture")}
    assert about["best"].replace("-", "") == min(perplexities, key=perplexities.get)
    assert perplexities["mixture"] < 1.01 * min(perplexities["network"], perplexities["ngram"])
    assert about["network_perplexity"] == pytest.approx(runs["text"].summary()["valid_perplexity"])
    assert len(about["weights"]) == about["order"] <= MAX_ORDER


def test_the_files_give_the_same_mixture_without_the_corpus(run, runs):
    mixture, notice = read_mixture(charlm.open(run.folder))
    assert notice is None
    corpus = run.load_corpus()
    train, boundary = corpus.read("train")[0], mixture.ngram.boundary
    assert boundary == (int(train[0]) if run is runs["lines"] else None)
    again = NGram.count(train, len(run.vocabulary), MAX_ORDER, boundary).up_to(mixture.order)
    for one, other in zip(again.orders, mixture.ngram.orders, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.raw, other.raw)
    valid = corpus.read("valid")[0]
    np.testing.assert_allclose(
        mixture.ngram.predict(valid).nats[-1], again.predict(valid).nats[-1], rtol=1e-12
    )


def test_score_and_eval_use_the_mixture_and_say_so(run, tmp_path, capsys):
    lines = "anna\nbob\n" if run.config.corpus.lines else "the time was so convenient"
    score, alone = run.score(lines), run.score(lines, network_only=True)
    assert (score.model, alone.model) == ("mixture", "network")
    assert score.nats_per_char != alone.nats_per_char
    (tmp_path / "own.txt").write_text(lines)
    assert (
        command(["eval", "--run", str(run.folder), "--text", str(tmp_path / "own.txt"), "--json"])
        == 0
    )
    content = json.loads(capsys.readouterr().out)
    assert content["mode"] == "static"
    assert content["nats_per_char"] == pytest.approx(alone.nats_per_char, rel=1e-5)
    assert content["mixture"]["nats_per_char"] == pytest.approx(score.nats_per_char, rel=1e-5)
    assert content["mixture"]["order"] == run.load_mixture().order
    assert content["dynamic"] is content["temperature"] is content["ensemble"] is None


def test_generate_uses_the_mixture_and_says_so(run, capsys):
    given = ["generate", "--run", str(run.folder), "--seed", "3", "--length", "20", "--json"]
    assert command(given) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert "mixture: the network mixed with an n-gram of order" in printed.err
    assert content["mixture"]["order"] == run.load_mixture().order
    assert content["text"] == run.generate(length=20, seed=3)
    assert command([*given, "--network-only"]) == 0
    printed = capsys.readouterr()
    assert "mixture" not in printed.err
    alone = json.loads(printed.out)
    assert alone["mixture"] is None
    assert alone["text"] == run.generate(length=20, seed=3, network_only=True)


def test_generated_characters_have_the_probabilities_of_the_score(runs):
    """The greedy text of the mixture: each character is the most probable one."""
    run = runs["text"]
    model, mixture = run.load_model(), run.load_mixture()
    prefix = run.vocabulary.encode("the ").tolist()
    (row,) = torch.cat(
        [*generate_blocks(model, prefix, length=15, decoding=Decoding(temperature=0),
                          num_samples=1, seed=0, mixture=mixture)]
    ).T.tolist()  # fmt: skip
    for place in range(len(prefix), len(prefix) + 15):
        before = [*prefix, *row][:place]
        odds = []
        for token in range(1, len(run.vocabulary)):
            ids = np.array([*before, token])
            odds.append(-mixture.nats(character_nats(model, ids), ids)[0][-1])
        assert 1 + int(np.argmax(odds)) == [*prefix, *row][place]


def test_a_mixture_of_other_weights_is_not_used(runs, tmp_path, text):
    """As while a resumed training goes on; the end of the training makes it again."""
    (tmp_path / "text.txt").write_text(text)
    run = charlm.train(tmp_path / "text.txt", run=tmp_path / "run", **OPTIONS)
    assert run.load_mixture() is None
    with pytest.warns(UserWarning, match="already complete"):
        run = charlm.train(run=run.folder, resume=True, mix_ngram=True, progress=False)
    assert run.load_mixture() is not None
    longer = charlm.train(run=run.folder, resume=True, epochs=3, mix_ngram=False, progress=False)
    with pytest.warns(UserWarning, match="belongs to other weights and is not used"):
        assert longer.load_mixture() is None
    longer = charlm.train(run=run.folder, resume=True, epochs=4, mix_ngram=True, progress=False)
    assert longer.load_mixture() is not None


def test_no_validation_split_is_refused(text, tmp_path):
    (tmp_path / "text.txt").write_text(text)
    with pytest.raises(CharlmError, match="--mix-ngram chooses its weights on the validation"):
        charlm.train(tmp_path / "text.txt", mix_ngram=True, split="1,0,0", **OPTIONS)


# Damage


def check_refused(run, one_line) -> None:
    """The files are refused with one line that names one of them."""
    with pytest.raises(RunError) as caught:
        read_mixture(run)
    assert "mixture" in one_line(caught.value)


@pytest.fixture
def damaged(runs):
    """A function that writes files of a mixture; they are healthy again afterwards."""
    run = runs["text"]
    healthy = {name: (run.folder / name).read_bytes() for name in (MANIFEST, TENSORS)}

    def write(**changed: bytes) -> Run:
        for name, data in {**healthy, **changed}.items():
            (run.folder / name).write_bytes(data)
        return run

    yield write, healthy
    write()


def test_every_flipped_bit_and_cut_is_refused(damaged, one_line):
    write, healthy = damaged
    rng = random.Random(0)
    for name, number in itertools.product((MANIFEST, TENSORS), range(60)):
        data = bytearray(healthy[name])
        if number % 3:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        check_refused(write(**{name: bytes(data)}), one_line)


FORGED = {
    "keys.2": [lambda keys: keys.flip(0), lambda keys: keys - keys[0] - 1, lambda keys: keys * 99],
    "keys.1": [lambda keys: keys * 0],
    "raw.3": [lambda raw: raw - raw, lambda raw: -raw, lambda raw: raw.long()],
    "continuation.1": [lambda counts: counts - counts.max() - 1, lambda counts: counts[1:]],
    "weights": [lambda weights: weights * 0, lambda w: w * math.nan, lambda w: w + 1],
    "learned_from": [lambda number: number * 10**9, lambda number: -number],
    "best": [lambda digest: digest[:5]],
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_numbers_are_refused(damaged, one_line, name):
    """Also with a manifest that fits them."""
    write, healthy = damaged
    for forge in FORGED[name]:
        tensors = load(healthy[TENSORS])
        tensors[name] = forge(tensors[name]).contiguous()
        data = save(tensors)
        size, digest = record(data)
        manifest = json.loads(healthy[MANIFEST]) | {"bytes": size, "sha256": digest}
        check_refused(write(**{TENSORS: data, MANIFEST: encode_json(manifest)}), one_line)


@pytest.mark.parametrize(
    "change",
    [
        {"grams": []}, {"grams": [10**12] * 3}, {"grams": [True]}, {"grams": None}, {"format": 2},
        {"bytes": -1}, {"bytes": 1.5}, {"sha256": None}, {"more": 1}, {"grams": [5] * 99},
    ],
)  # fmt: skip
def test_a_forged_manifest_is_refused(damaged, one_line, change):
    write, healthy = damaged
    manifest = json.loads(healthy[MANIFEST]) | change
    check_refused(write(**{MANIFEST: encode_json(manifest)}), one_line)


def test_commands_refuse_a_damaged_mixture_and_name_the_way_round(damaged, capsys):
    write, healthy = damaged
    run = write(**{TENSORS: healthy[TENSORS][:-1]})
    assert command(["generate", "--run", str(run.folder), "--length", "5"]) == 1
    assert capsys.readouterr().err.count("error:") == 1
    given = ["generate", "--run", str(run.folder), "--length", "5", "--network-only"]
    assert command(given) == 0
