"""The trials of a sweep as a table, in words and as a picture."""

from __future__ import annotations

import math
import shlex
from types import SimpleNamespace

import pytest

from charlm.report.sweep_plots import sweep_picture
from charlm.sweeps import results as found
from charlm.sweeps.file import read_sweep


def trial(number, state, value=None, scores=(), reason="", **params):
    attributes = {"reason": reason} if reason else {}
    about = {"number": number, "value": value, "user_attrs": attributes}
    scores = {8 * part: score for part, score in enumerate(scores, start=1)}
    names = {"lr": "training.lr", "cell": "model.cell"}
    params = {names[key]: value for key, value in params.items()}
    state = SimpleNamespace(name=state)
    return SimpleNamespace(**about, params=params, state=state, intermediate_values=scores)


TRIALS = [
    trial(0, "COMPLETE", 5.0, (7.0, 5.0), lr=0.01, cell="gru"),
    trial(1, "PRUNED", 8.0, (9.0, 8.0), lr=0.1, cell="rnn"),
    trial(2, "FAIL", reason="the loss is not finite", lr=0.3, cell="gru"),
    trial(3, "COMPLETE", 4.5, (6.0, 4.5), lr=0.0212345, cell="lstm"),
    trial(4, "RUNNING", None, (6.5,), lr=0.02),
    trial(5, "PRUNED", 7.0, (7.0,), lr=0.05, cell="rnn"),
]


@pytest.fixture
def sweep(tmp_path):
    """A sweep over two settings."""

    def make(more: str = "", task: str = "language-model"):
        file = tmp_path / "mine.toml"
        search = 'lr = { low = 0.001, high = 1, log = true }\ncell = ["rnn", "gru", "lstm"]'
        file.write_text(f'[sweep]\ntask = "{task}"\ntrials = 7\n{more}\n[search]\n{search}\n')
        return read_sweep(file)

    return make


def listed(sweep, trials=TRIALS):
    return found.results(SimpleNamespace(get_trials=lambda: trials), sweep)


def test_the_best_come_first(sweep):
    table = found.table(listed(sweep()), sweep())
    assert table.header == ("trial", "", "valid perplexity", "scorings", "lr", "cell")
    assert table.rows == [
        ("3", "complete", "4.500", "2", "0.02123", "lstm"),
        ("0", "complete", "5.000", "2", "0.01", "gru"),
        ("5", "pruned", "7.000", "1", "0.05", "rnn"),
        ("1", "pruned", "8.000", "2", "0.1", "rnn"),
        ("2", "failed", "-", "0", "0.3", "gru"),
        ("4", "unfinished", "6.500", "1", "0.02", "-"),
    ]
    assert found.finished(listed(sweep())) == 5
    tags = listed(sweep(task="tag"))
    assert [each.number for each in tags] == [0, 3, 1, 5, 2, 4]  # F1: higher is better


def test_words(sweep):
    assert found.summary(listed(sweep()), sweep()) == [
        "6 trials of 7: 2 complete, 2 pruned, 1 failed, 1 unfinished",
        "trial 2 failed: the loss is not finite",
        "best: trial 3, valid perplexity 4.500; run sweeps/mine/trial-0003",
    ]
    assert found.summary(listed(sweep(), []), sweep()) == ["0 trials of 7: none begun"]
    assert found.best_of(listed(sweep(), TRIALS[1:3])) is None


def test_json(sweep):
    content = found.as_json(listed(sweep()), sweep())
    assert content["metric"] == "valid_perplexity"
    assert (content["trials_wanted"], content["trials_finished"]) == (7, 5)
    assert content["best"]["trial"] == 3
    assert content["best"]["settings"] == {"training.lr": 0.0212345, "model.cell": "lstm"}
    assert content["best"]["scores"] == [[0.4, 6.0], [0.8, 4.5]]
    assert [each["trial"] for each in content["trials"]] == [3, 0, 5, 1, 2, 4]
    assert content["trials"][4]["reason"] == "the loss is not finite"
    assert found.as_json([], sweep())["best"] is None


def test_the_commands_that_compare_the_best_settings_with_the_default(sweep):
    more = 'preset = "timemachine-gru"\n[corpus]\nsource = "my book.txt"\n[training]\nseed = 4\n'
    described = sweep(more + 'epochs = 2\nprefixes = ["it is", "a"]')
    best, default, compare = map(shlex.split, found.commands(described, listed(described)[0]))
    assert best[:8] == [
        *("charlm", "train", "--run", "mine-best", "--seeds", "0-2"),
        *("--preset", "timemachine-gru"),
    ]
    assert best[8::2] == 5 * ["--set"]
    assert best[9::2] == [
        "corpus.source=my book.txt",
        "training.epochs=2",
        "training.prefixes=it is,a",
        "training.lr=0.0212345",
        "model.cell=lstm",
    ]
    assert default == [word.replace("mine-best", "mine-default") for word in best[:-4]]
    assert compare[:3] == ["charlm", "runs", "compare"]
    assert (compare[3], compare[-1]) == ("mine-best-seed0", "mine-default-seed2")


def picture(trials, sweep):
    return sweep_picture(found.drawable_trials(trials, sweep), sweep.name, "svg")


def test_a_picture_says_what_it_shows(sweep):
    drawn = picture(listed(sweep()), sweep()).decode()
    assert drawn == picture(listed(sweep()), sweep()).decode()
    for words in (
        "valid perplexity",
        "trial",
        "best",
        "pruned",
        "part of the training",
        "lr",
        "cell",
        "gru",
    ):
        assert f"<!-- {words} -->" in drawn, words
    overflow = trial(6, "PRUNED", math.inf, (math.inf,), lr=0.9, cell="rnn")
    assert picture(listed(sweep(), [*TRIALS, overflow]), sweep()).decode() == drawn
    assert "<svg" in picture([], sweep()).decode()
