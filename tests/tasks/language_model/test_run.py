"""What a trained language model does from Python, against the model itself."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch

import charlm
from charlm.cli import run as command
from charlm.errors import CharlmError, UsageError
from charlm.runs import Run
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.perplexity import evaluate
from charlm.tasks.language_model.run import LanguageModelRun
from charlm.training import train

TEXT = "the cat sat on the mat. the dog sat on the log. "


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Gives the run of a small model with a cell, trained for two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "book.txt").write_text(TEXT * 40, encoding="utf-8")
    made = {}

    def run_of(cell: str) -> LanguageModelRun:
        if cell not in made:
            backend = "scratch" if cell == "gru-reset-before" else "torch"
            ngrams = {"ngram_order": 3, "ngram_rows": 50} if cell == "gru" else {}
            network = {"cell": cell, "backend": backend, "hidden_size": 8, "num_layers": 2}
            settings = {
                "corpus": {"cleaning": "letters", "source": str(folder / "book.txt")},
                "model": {**network, **ngrams},
                "training": {"epochs": 2, "seq_len": 16, "prefixes": ["the"]},
            }
            config = LanguageModelConfig.from_settings([settings])
            corpus = load_corpus(config.corpus.source, cleaning="letters")
            run = Run.create(folder / cell, config, corpus)
            for _ in train(run, corpus, device=torch.device("cpu")):
                pass
            made[cell] = Run.open(folder / cell)
        return made[cell]

    return run_of


@pytest.fixture
def run(runs) -> LanguageModelRun:
    return runs("gru")


def test_a_run_of_a_language_model_is_opened_as_one(run):
    assert type(run) is LanguageModelRun


def test_generate_is_the_command(run, capsys):
    """The same text as ``charlm generate`` with the same settings."""
    given = ["--length", "40", "--num-samples", "2", "--temperature", "1.2", "--top-k", "5"]
    given += ["--run", str(run.folder), "--prefix", "the", "--seed", "3", "--json"]
    assert command(["generate", *given]) == 0
    printed = json.loads(capsys.readouterr().out)
    made = run.generate("the", 40, num_samples=2, temperature=1.2, top_k=5, seed=3)
    assert made == printed["samples"]
    assert run.generate(length=20, seed=3) == run.generate("the", length=20, seed=3)
    assert command(["generate", "--run", str(run.folder), "--stop", "at", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert run.generate(stop="at", seed=printed["seed"]) == printed["text"]


def test_generate_draws_another_text_each_time(run):
    assert run.generate("the", 30) != run.generate("the", 30)
    assert run.generate("the", 30, temperature=0) == run.generate("the", 30, temperature=0)
    assert len(run.generate("the", 30, num_samples=1)) == 1
    assert len(run.generate("the", 30, exact_length=True)) == 33
    assert run.generate("", 30, seed=1) == run.generate("", 30, seed=np.int64(1))
    for seed in (-1, 2**63):
        with pytest.raises(UsageError, match=f"the seed is {seed}"):
            run.generate("the", 30, seed=seed)


def test_bytes_are_not_a_text(run):
    for method in (run.generate, run.score, run.logits, run.hidden):
        with pytest.raises(TypeError, match="must be a str, not bytes"):
            method(b"the cat")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prefix": "123"}, "nothing left"),
        ({"length": 0}, "length is 0"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"device": "abacus"}, "no device 'abacus'"),
    ],
)
def test_generate_with_an_impossible_argument(run, arguments, message):
    with pytest.raises(CharlmError, match=message):
        run.generate(**{"prefix": "the", **arguments})


def test_score_is_the_command_and_the_loss(run, tmp_path, capsys):
    text = TEXT * 3
    (tmp_path / "other.txt").write_text(text)
    given = ["eval", "--run", str(run.folder), "--text", str(tmp_path / "other.txt"), "--json"]
    assert command(given) == 0
    printed = json.loads(capsys.readouterr().out)
    with pytest.warns(UserWarning, match="cleaned as the corpus was"):
        score = run.score(text)
    assert score.nats_per_char == pytest.approx(printed["nats_per_char"], rel=1e-6)
    assert score.bits_per_char == pytest.approx(printed["bits_per_char"], rel=1e-6)
    assert score.perplexity == pytest.approx(printed["perplexity"], rel=1e-6)
    ids = run.vocabulary.encode(score.text)
    assert score.nats_per_char == pytest.approx(evaluate(run.load_model(), ids).mean, rel=1e-6)


def test_unknown_characters_are_charged_as_by_the_command(run, tmp_path, capsys):
    (tmp_path / "other.txt").write_text("the zoo of cats")
    given = ["eval", "--run", str(run.folder), "--text", str(tmp_path / "other.txt"), "--json"]
    assert command(given) == 0
    printed = json.loads(capsys.readouterr().out)
    with pytest.warns(UserWarning, match="not in the vocabulary"):
        score = run.score("the zoo of cats")
    assert score.nats_per_char == pytest.approx(printed["nats_per_char"], rel=1e-5)
    assert score.surprisal[4] > 19  # "z": its spelling alone takes 20 bits


def test_surprisal_is_that_of_the_logits(run):
    text = "the dog sat on the mat"
    score, logits = run.score(text), run.logits(text)
    assert logits.shape == (len(text), len(run.vocabulary))
    assert score.surprisal.shape == (len(text),)
    assert math.isnan(score.surprisal[0])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids = run.vocabulary.encode(text)
    expected = -np.log2(probabilities[np.arange(len(text) - 1), ids[1:]])
    assert score.surprisal[1:] == pytest.approx(expected, rel=1e-4)
    assert score.bits_per_char == pytest.approx(np.nanmean(score.surprisal))


def test_a_long_text_is_scored_in_rows(run):
    """Rows of 2,048 characters, as in `evaluate`: each character has its own place."""
    text = (TEXT.replace(".", "") * 120).strip()
    score = run.score(text)
    loss = evaluate(run.load_model(), run.vocabulary.encode(text))
    assert score.nats_per_char == pytest.approx(loss.mean, rel=1e-6)
    assert score.surprisal[:400] == pytest.approx(run.score(text[:400]).surprisal, nan_ok=True)
    assert len(score.surprisal) == len(text) > 5000


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "gru-reset-before"])
def test_hidden_is_each_layers_output(runs, cell):
    run, text = runs(cell), "the dog"
    hidden, model = run.hidden(text), run.load_model()
    assert hidden.shape == (7, 2, 8)
    ids = torch.from_numpy(run.vocabulary.encode(text)).unsqueeze(1)
    with torch.no_grad():
        _, state = model(ids, model.initial_state(1))
        seen = [torch.from_numpy(hidden[:, -1])]
        if model.ngrams is not None:  # the output layer sees the input of the layers too
            *state, _ = state
            seen.append(model.vectors(ids, model.initial_state(1))[0][:, 0])
        logits = model.head(torch.cat(seen, dim=1))
    assert logits.numpy() == pytest.approx(run.logits(text), abs=1e-5)
    last = torch.stack([layer.hidden[0] for layer in state])
    assert hidden[-1] == pytest.approx(last.numpy(), abs=1e-6)


def test_unknown_characters_and_cleaning_are_warnings(run):
    with pytest.warns(UserWarning, match="not in the vocabulary") as caught:
        hidden = run.hidden("the zoo")
    assert hidden.shape == (7, 2, 8)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="cleaned as the corpus was") as caught:
        run.generate("The ", 3)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.score("the dog")


@pytest.mark.parametrize("method", ["score", "logits", "hidden"])
def test_a_text_with_nothing_to_read(run, method, one_line):
    with pytest.raises(CharlmError) as caught:
        getattr(run, method)("")
    assert "text" in one_line(caught.value)


def test_a_single_character_is_not_scored(run):
    with pytest.raises(CharlmError, match="no character to predict"):
        run.score("t")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """A run on lines."""
    folder = tmp_path_factory.mktemp("names")
    lines = [f"{a}{b}" for a in ("an", "bo", "emm", "lu") for b in ("a", "na", "ra", "ise")] * 5
    (folder / "names.txt").write_text("".join(f"{line}\n" for line in lines))
    settings = {"hidden_size": 8, "epochs": 2, "batch_size": 8, "progress": False}
    settings |= {"ngram_order": 3, "ngram_rows": 50}
    return charlm.train(folder / "names.txt", lines=True, run=folder / "run", **settings)


def test_a_run_on_lines_scores_each_line_with_its_end(names, tmp_path, capsys):
    (tmp_path / "other.txt").write_text("anna\nlu\n\nbora\n")
    given = ["eval", "--run", str(names.folder), "--text", str(tmp_path / "other.txt"), "--json"]
    assert command(given) == 0
    printed = json.loads(capsys.readouterr().out)
    score = names.score("anna\nlu\n\nbora")
    assert score.text == "anna\nlu\nbora\n"
    assert score.surprisal.shape == (13,)
    assert not np.isnan(score.surprisal).any()
    assert score.nats_per_char == pytest.approx(printed["nats_per_char"], rel=1e-5)
    assert names.score("lu").surprisal == pytest.approx(score.surprisal[5:8], rel=1e-5)
    with pytest.raises(CharlmError, match="no character to predict"):
        names.score("\n")


def test_a_run_on_lines_writes_and_reads_single_lines(names, capsys):
    given = ["generate", "--run", str(names.folder), "--num-samples", "3", "--prefix", "an"]
    assert command([*given, "--seed", "4", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert names.generate("an", num_samples=3, seed=4) == printed["samples"]
    assert "\n" not in names.generate()
    assert names.hidden("anna").shape == (4, 1, 8)
    logits, surprisal = names.logits("anna"), names.score("anna").surprisal
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    following = names.vocabulary.encode("nna\n")
    assert -np.log2(probabilities[range(4), following]) == pytest.approx(surprisal[1:], rel=1e-4)
    with pytest.raises(CharlmError, match="line end"):
        names.logits("an\nna")
    with pytest.raises(CharlmError, match="not for lines"):
        names.generate(stop="a")


def test_metrics_are_rows_for_pandas(run):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(run.metrics)
    assert table["epoch"].iloc[-1] == 2
    assert {"train_perplexity", "valid_perplexity", "seconds"} <= {*table.columns}


def test_plot_is_a_figure_with_both_metrics(run):
    figure = run.plot()
    assert {axes.get_xlabel() for axes in figure.axes} >= {"characters seen", "seconds"}
    lines = {line.get_label(): [*line.get_ydata()] for line in figure.axes[0].get_lines()}
    assert lines["valid perplexity"] == [row["valid_perplexity"] for row in run.metrics]
    assert lines["train perplexity"] == [row["train_perplexity"] for row in run.metrics]
    assert figure._repr_png_().startswith(b"\x89PNG")
