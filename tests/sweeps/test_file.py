"""The file of a sweep is checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlm.errors import UsageError
from charlm.sweeps.file import Parameter, read_sweep
from charlm.tasks import LANGUAGE_MODEL


@pytest.fixture
def read(tmp_path: Path):
    """Reads a sweep from the lines of its sections."""

    def read(search: str = "lr = [0.1, 0.2]", sweep: str = "", more: str = ""):
        file = tmp_path / "mine.toml"
        file.write_text(f"[sweep]\n{sweep}\n[search]\n{search}\n{more}", encoding="utf-8")
        return read_sweep(file)

    return read


def test_what_a_file_says(read):
    sweep = read(
        "lr = { low = 0.001, high = 0.1, log = true }\n"
        "hidden_size = { low = 64, high = 256, step = 64 }\n"
        'num_steps = { low = 8, high = 16 }\n"model.cell" = ["gru", "lstm"]\n'
        "output_dropout = { low = 0, high = 0.3, step = 0.1 }",
        'trials = 7\nfolder = "there"',
        '[training]\nepochs = 2\n[corpus]\nsource = "timemachine"',
    )
    assert sweep.about.trials == 7
    assert sweep.folder == Path("there")
    assert sweep.run_folder(12) == Path("there/trial-0012")
    assert sweep.given == {"file": {"training": {"epochs": 2}, "corpus": {"source": "timemachine"}}}
    assert sweep.search == (
        Parameter(section="training", key="lr", low=0.001, high=0.1, log=True),
        Parameter(section="model", key="hidden_size", whole=True, low=64, high=256, step=64),
        Parameter(section="training", key="seq_len", whole=True, low=8, high=16),
        Parameter(section="model", key="cell", choices=("gru", "lstm")),
        Parameter(section="model", key="output_dropout", low=0.0, high=0.3, step=0.1),
    )
    assert sweep.settings({"model.cell": "gru", "training.lr": 0.5}) == {
        "model": {"cell": "gru"},
        "training": {"lr": 0.5},
    }


def test_a_preset_comes_first(read):
    sweep = read(sweep='preset = "timemachine-gru"')
    assert [*sweep.given] == ["preset", "file"]
    assert sweep.given["preset"]["model"]["cell"] == "gru"


def test_another_task(read):
    sweep = read("word_dropout = [0.1, 0.2]", 'task = "classify"')
    assert sweep.task.name == "classify"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("lrr = [1, 2]", "[search] lrr: unknown key: 'lrr'; did you mean lr?"),
        ('"train.lr" = [1, 2]', "[search] train.lr: unknown section: 'train'; "),
        ('"model.lr" = [1, 2]', "[search] model.lr: unknown key of [model]: 'lr'; "),
        ("lr = 0.1", "[search] lr: 0.1 is neither a list of values nor a range; for example"),
        ("lr = [0.1]", "[search] lr: a list needs two values or more"),
        ("lr = [0.1, 0.1]", "[search] lr: a value is twice in the list"),
        ("lr = [[0.1], 0.2]", "[search] lr: [0.1] is not a single value"),
        ('lr = ["a", 0.1]', "[search] lr: training.lr is 'a'; it must be a number"),
        ("lr = [-1, 0.1]", "[search] lr: training.lr is -1.0; it must be above 0 and finite"),
        ("dropout = { low = 0, high = 1 }", "[search] dropout: model.dropout is 1.0; it must be"),
        ("lr = { low = 0.1 }", "[search] lr: a range has a low and a high"),
        ("lr = { low = 0.1, hihg = 1 }", "unknown key of a range: 'hihg'; did you mean high?"),
        ("lr = { low = 0.2, high = 0.1 }", "low is 0.2, and high is 0.1: low must be below high"),
        ('lr = { low = "a", high = 0.1 }', "[search] lr: 'a' is not a number"),
        ("hidden_size = { low = 8, high = 16.5 }", "16.5 is not a whole number"),
        ("lr = { low = 0.1, high = 1, log = 1 }", "log is 1; it must be true or false"),
        ("dropout = { low = 0, high = 0.5, log = true }", "low is 0; with log it must be above 0"),
        ("lr = { low = 0.1, high = 0.2, step = 0.1, log = true }", "log and step do not go"),
        ("lr = { low = 0.1, high = 0.2, step = 0 }", "step is 0; it must be above 0"),
        ("lr = { low = 0.1, high = 0.2, step = 0.07 }", "from 0.1 to 0.2 is not a whole number"),
        ("cell = { low = 1, high = 2 }", "model.cell is not a number; give a list of values"),
        ('cell = ["gru", "grru"]', "model.cell is 'grru'; it can be"),
        ("seed = [1, 2]", "the best seed would only be luck; charlm train --seeds 0-4 shows"),
        ("max_chars = [100, 200]", "scores on different texts cannot be compared"),
        ("seq_len = [8, 9]\nnum_steps = [8, 9]", "training.seq_len is searched twice"),
        ("", "searches nothing; give settings to try under [search]"),
    ],
)
def test_mistakes_in_the_search(read, search, message):
    with pytest.raises(UsageError) as raised:
        read(search)
    text = f"{raised.value.message}; {raised.value.hint or ''}"
    assert "mine.toml" in text
    assert message in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("sweep", "more", "message"),
    [
        ("trails = 3", "", "[sweep]: unknown key: 'trails'; did you mean trials?"),
        ("trials = 0", "", "[sweep]: sweep.trials is 0; it must be from 1 to 1,000,000,000"),
        ('task = "tags"', "", "[sweep]: sweep.task is 'tags'; it can be"),
        ('preset = "nothing"', "", "mine.toml: unknown preset: 'nothing'"),
        ("", "[training]\nepoch = 3", "mine.toml: unknown key of [training]: 'epoch'; did you"),
        ("", "[training]\nlr = 3", "[search] lr: it is also in [training]; leave one out"),
        ("", "[model]\nhidden_size = 0", "mine.toml: model.hidden_size is 0; it must be"),
        ("", '[corpus]\nsource = "-"', "mine.toml: each trial reads the data, and standard input"),
        ("", "[trainings]\nlr = 3", "mine.toml: unknown section: 'trainings'; did you mean"),
    ],
)
def test_mistakes_elsewhere(read, sweep, more, message):
    with pytest.raises(UsageError) as raised:
        read(sweep=sweep, more=more)
    assert message in f"{raised.value.message}; {raised.value.hint or ''}"


def test_searched_settings_without_an_effect(read):
    sweep = read("dropout = [0.1, 0.2]\nlr = [0.1, 0.2]\nmogrifier_rounds = { low = 1, high = 5 }")
    config = LANGUAGE_MODEL.config_type.from_settings([])
    assert [*sweep.idle(config)] == ["model.dropout", "model.mogrifier_rounds"]
    assert "only one" in sweep.idle(config)["model.dropout"]
    both = read("dropout = [0.1, 0.2]\nnum_layers = [1, 2]")
    assert both.idle(config) == {}
