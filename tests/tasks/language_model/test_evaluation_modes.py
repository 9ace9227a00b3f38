"""The modes of ``charlm eval``: never mixed up with the static score."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import charlm
from charlm.cli import run as command
from charlm.tasks.language_model import dynamic, evaluation_modes
from charlm.tasks.language_model.evaluation_modes import find_temperature, with_temperature
from charlm.tasks.language_model.perplexity import character_nats

OPTIONS = {"epochs": 1, "hidden_size": 8, "batch_size": 4, "seq_len": 20, "progress": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one text, one of another text, and one of lines."""
    folder = tmp_path_factory.mktemp("modes")
    (folder / "text.txt").write_text("the time traveller came back. " * 60)
    (folder / "lines.txt").write_text("anna\nbob\nhannah\n" * 60)
    (folder / "other.txt").write_text("THE TIME traveller came back. " * 60)
    return {
        name: charlm.train(folder / source, run=folder / name, seed=seed, lines=lines, **OPTIONS)
        for name, source, seed, lines in (
            ("one", "text.txt", 0, False),
            ("two", "text.txt", 1, False),
            ("other", "other.txt", 0, False),
            ("lines", "lines.txt", 0, True),
        )
    }


@pytest.fixture
def evaluate(runs, capsys):
    """A function that gives the JSON of ``charlm eval`` with some options."""

    def evaluate(*options: str, run: str = "one"):
        given = ["eval", "--run", str(runs[run].folder), "--json", *map(str, options)]
        code, printed = command(given), capsys.readouterr()
        return json.loads(printed.out) if code == 0 else printed.err

    return evaluate


def test_a_temperature_divides_the_logits(runs):
    model, ids = runs["one"].load_model(), torch.tensor([[1], [2], [3]])
    logits, _ = model(ids, model.initial_state(1))
    cooler, _ = with_temperature(model, 1.7)(ids, model.initial_state(1))
    torch.testing.assert_close(cooler, logits / 1.7)


def test_the_best_temperature_is_found():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(3000, 9)) * 2
    targets = (logits / 1.3 + draw.gumbel(size=logits.shape)).argmax(1)

    def loss(temperature: float) -> float:
        scaled = torch.from_numpy(logits / temperature)
        return float(torch.nn.functional.cross_entropy(scaled, torch.from_numpy(targets)))

    found = find_temperature(loss)
    assert found == pytest.approx(1.3, abs=0.06)
    assert loss(found) <= min(map(loss, np.arange(0.5, 2.01, 0.05))) + 1e-6


@pytest.mark.parametrize("protocol", ["carried", "nanogpt"])
def test_each_mode_has_its_own_key_and_protocol(evaluate, runs, protocol, monkeypatch):
    monkeypatch.setattr(dynamic, "SQUARES", 3)
    static = evaluate("--protocol", protocol)
    options = ["--dynamic", "--temperature", "auto", "--run", runs["two"].folder]
    content = evaluate("--protocol", protocol, *options)
    for key in ("nats_per_char", "mode", "protocol", "baselines", "characters"):
        assert content[key] == static[key]
    scores = {content[name]["nats_per_char"] for name in ("dynamic", "temperature", "ensemble")}
    assert len(scores | {static["nats_per_char"]}) == 4
    assert {content[name]["protocol"] for name in ("dynamic", "temperature", "ensemble")} == {
        protocol
    }
    assert content["temperature"]["nats_per_char"] <= static["nats_per_char"] + 0.01
    assert content["dynamic"]["segment"] in dynamic.SEGMENTS
    assert content["mixture"] is None


def test_an_ensemble_is_the_mean_of_the_probabilities(evaluate, runs):
    ids = runs["one"].load_corpus().split("test")
    each = [character_nats(runs[name].load_model(), ids) for name in ("one", "two")]
    mean = -np.log((np.exp(-each[0]) + np.exp(-each[1])) / 2).mean()
    content = evaluate("--run", runs["two"].folder)["ensemble"]
    assert content["nats_per_char"] == pytest.approx(mean, rel=1e-5)
    assert content["runs"] == [str(runs[name].folder) for name in ("one", "two")]


def test_a_given_temperature_of_one_changes_nothing(evaluate):
    content = evaluate("--temperature", "1")
    assert content["temperature"]["nats_per_char"] == pytest.approx(content["nats_per_char"])
    assert evaluate("--temperature", "auto", run="lines")["temperature"]["protocol"] == "lines"


def test_a_long_text_is_scored_in_part(evaluate, monkeypatch):
    monkeypatch.setattr(dynamic, "SQUARES", 3)
    monkeypatch.setattr(evaluation_modes, "SEARCHED", 20)
    monkeypatch.setattr("charlm.tasks.language_model.scores.DYNAMIC", 30)
    content = evaluate("--dynamic")
    assert content["characters"] == 30 < content["characters_in_text"]
    assert evaluate("--dynamic", "--whole")["characters"] == content["characters_in_text"]
    assert not math.isnan(content["dynamic"]["nats_per_char"])


def test_what_does_not_fit_is_refused_in_a_line(evaluate, runs):
    assert "has another vocabulary than" in evaluate("--run", runs["other"].folder)
    assert "is for running texts" in evaluate("--dynamic", run="lines")
    assert "must be auto, or a number" in evaluate("--temperature", "warm")
    assert "must be auto, or a number" in evaluate("--temperature", "0")
    assert "--run is given twice" in command_error(["classify", "eval", "--run", "a", "--run", "b"])


def command_error(given: list[str]) -> str:
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert command(given) == 2
    return err.getvalue()
