"""The run folder: made, opened again, damaged, and found."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from charlm.config import Config
from charlm.corpus import load_corpus
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.build import build_language_model
from charlm.runs import CHECKPOINTS, Run, load_run_corpus, newest_run, run_folders
from charlm.runs.checkpoint import write_json
from charlm.training.optimisation import snapshot

TEXT = "the time traveller for so it will be convenient to speak of him 分开\n" * 5
SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 4},
    "training": {"epochs": 2, "prefixes": ["the ", "分"]},
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, so that no run and no corpus of the user's is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    return tmp_path


@pytest.fixture
def novel(tmp_path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def config(novel) -> Config:
    return Config.from_layers([{"corpus": {"source": str(novel)}}, SETTINGS])


@pytest.fixture
def corpus(config):
    return load_run_corpus(config.corpus, None, None)


@pytest.fixture
def run(config, corpus, tmp_path) -> Run:
    return Run.create(tmp_path / "run", config, corpus)


@pytest.fixture
def trained(run) -> Run:
    """As a training leaves it, with other weights in best than in last."""
    models = [build_language_model(run.config.model, len(run.vocabulary)) for _ in range(2)]
    run.metrics = [
        {"epoch": 1, "train_perplexity": 20.5, "valid_perplexity": None},
        {"epoch": 2.0, "train_perplexity": 1 / 3, "valid_perplexity": 50.25},
    ]
    run.samples = [{"epoch": 1, "prefix": "分", "text": "分\n\x85\u2028\u2029\x0b\x1c😀\ud800"}]
    run.save(best=snapshot(models[0]), last=snapshot(models[1]))
    return run


def open_error(folder: Path) -> RunError:
    with pytest.raises(RunError) as caught:
        Run.open(folder)
    assert str(folder) in caught.value.message
    for line in (caught.value.message, caught.value.hint or "-"):
        assert "\n" not in line
    return caught.value


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content)), "utf-8")


# Making


def test_the_folder_and_its_files(run, config, corpus, tmp_path):
    assert run.folder == tmp_path / "run"
    assert sorted(path.name for path in run.folder.iterdir()) == ["run.json", "vocabulary.json"]
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert about.keys() == {"format", "created", "config", "corpus", "versions"}
    assert about["format"] == 1
    assert about["config"] == json.loads(json.dumps(config.to_dict()))
    assert about["corpus"] == {
        "name": "novel",
        "source": str(tmp_path / "novel.txt"),
        "cleaning": "none",
        "sha256": corpus.sha256,
        "characters": len(TEXT),
        "split": list(corpus.split_sizes),
    }
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"].keys() == {"charlm", "torch", "numpy", "python"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", about["created"])
    characters = json.loads((run.folder / "vocabulary.json").read_text("utf-8"))
    assert characters == list(corpus.vocabulary.characters)


def test_folders_in_between_are_made(config, corpus, tmp_path):
    run = Run.create(tmp_path / "a" / "b" / "分开", config, corpus)
    assert (tmp_path / "a" / "b" / "分开" / "run.json").is_file()
    assert Run.open(run.folder) == run


def test_an_empty_folder_is_taken_and_any_other_refused(config, corpus, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    Run.create(folder, config, corpus)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError) as caught:
        Run.create(folder, config, corpus)
    assert caught.value.message == f"{folder} exists already"
    assert caught.value.hint == "give --run a new folder"
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("kind", ["hidden", "file", "link"])
def test_what_else_is_in_the_way(config, corpus, tmp_path, kind):
    folder = tmp_path / "mine"
    if kind == "hidden":
        folder.mkdir()
        (folder / ".keep").touch()
    elif kind == "file":
        folder.write_bytes(b"mine")
    else:
        folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        Run.create(folder, config, corpus)
    assert not (folder / "run.json").exists()


@pytest.mark.parametrize("name", ["novel.txt/run", "a" * 300])
def test_a_folder_that_cannot_be_made(config, corpus, tmp_path, name):
    with pytest.raises(RunError) as caught:
        Run.create(tmp_path / name, config, corpus)
    assert caught.value.message.startswith(f"cannot make the folder {tmp_path / name}: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_checkpoints_folder_that_cannot_be_made(config, corpus, tmp_path, kind):
    if kind == "file":
        CHECKPOINTS.touch()
    else:
        CHECKPOINTS.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="cannot make the folder checkpoints: "):
        Run.create(None, config, corpus)


def test_a_full_disk(config, corpus, tmp_path, monkeypatch):
    def fail(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match="No space left on device"):
        Run.create(tmp_path / "run", config, corpus)
    assert list((tmp_path / "run").iterdir()) == []


def test_the_names_that_a_folder_gets(config, corpus, monkeypatch):
    """Time, corpus and cell; a number where a run has begun in the same second."""
    moment = time.localtime(1_700_000_000)
    stamp = time.strftime("%Y%m%d-%H%M%S", moment)
    monkeypatch.setattr(
        "charlm.runs.run.time.strftime", lambda form, f=time.strftime: f(form, moment)
    )
    runs = [Run.create(None, config, corpus) for _ in range(3)]
    lstm = dataclasses.replace(config, model=dataclasses.replace(config.model, cell="lstm"))
    runs.append(Run.create(None, lstm, corpus))
    assert [run.folder for run in runs] == [
        CHECKPOINTS / f"{stamp}-novel-{rest}" for rest in ("gru", "gru-2", "gru-3", "lstm")
    ]
    assert re.fullmatch(r"\d{8}-\d{6}", stamp)
    assert all(Run.open(run.folder) == run for run in runs)


def test_runs_that_begin_at_the_same_moment_do_not_share_a_folder(config, corpus):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.create(None, config, corpus), range(24)))
    assert len({run.folder for run in runs}) == 24
    assert len(run_folders()) == 24


# Opening


def test_an_opened_run_is_the_one_that_was_made(run):
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.config.training.prefixes == ("the ", "分")
    assert opened.vocabulary == run.vocabulary
    assert (opened.metrics, opened.samples) == ([], [])
    assert opened.summary() is None


def test_an_opened_run_has_all_metrics_and_samples(trained):
    """Also of a text with characters that end a line for Python, but not in JSON."""
    assert Run.open(trained.folder) == trained


def test_metrics_and_samples_are_json_lines(trained):
    for name, rows in (("metrics", trained.metrics), ("samples", trained.samples)):
        data = (trained.folder / f"{name}.jsonl").read_bytes()
        assert data.endswith(b"\n")
        assert [json.loads(line) for line in data.split(b"\n")[:-1]] == rows
    assert "分" in (trained.folder / "samples.jsonl").read_text("utf-8")


def test_saving_again_takes_the_place_of_what_was_saved(trained):
    last = snapshot(trained.load_model("last"))
    trained.metrics.append({"epoch": 3})
    trained.save(best=last, last=last)
    assert Run.open(trained.folder).metrics[2:] == [{"epoch": 3}]
    best = snapshot(trained.load_model("best"))
    assert all(torch.equal(best[name], last[name]) for name in last)


def test_a_full_disk_leaves_the_weights_that_were_saved(trained, monkeypatch):
    before = {path: path.read_bytes() for path in trained.folder.iterdir()}

    def fail(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    last = snapshot(trained.load_model("last"))
    with pytest.raises(RunError, match="No space left on device"):
        trained.save(best=last, last=last)
    assert {path: path.read_bytes() for path in trained.folder.iterdir()} == before


def test_models_are_on_the_cpu_and_in_evaluation_mode(trained):
    model = trained.load_model()
    assert not model.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    best, default, last = (
        snapshot(each) for each in (trained.load_model("best"), model, trained.load_model("last"))
    )
    assert all(torch.equal(best[name], default[name]) for name in best)
    assert not all(torch.equal(best[name], last[name]) for name in best)


def test_a_run_without_weights(run):
    with pytest.raises(RunError, match=r"cannot read .*best\.safetensors: No such file"):
        run.load_model()


def test_weights_that_do_not_fit_the_vocabulary(trained):
    edit(trained.folder / "vocabulary.json", lambda characters: characters[:-1])
    with pytest.raises(RunError, match="is not of this run's model"):
        Run.open(trained.folder).load_model()


def test_no_file_of_a_run_is_a_pickle(trained, novel):
    config = Config.from_layers([{"corpus": {"source": "-"}}, SETTINGS])
    write_json(trained.folder / "summary.json", {"epochs": 2})
    piped = Run.create(None, config, load_run_corpus(config.corpus, novel, None), kept=novel)
    files = [*trained.folder.iterdir(), *piped.folder.iterdir()]
    assert {path.name for path in files} == {
        "run.json", "vocabulary.json", "metrics.jsonl", "samples.jsonl", "summary.json",
        "best.safetensors", "last.safetensors", "corpus.txt",
    }  # fmt: skip
    for path in files:
        data = path.read_bytes()
        assert path.suffix in {".json", ".jsonl", ".txt", ".safetensors"}
        if path.suffix == ".safetensors":
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        else:
            data.decode("utf-8")


def test_a_summary(run):
    assert run.summary() is None
    write_json(run.folder / "summary.json", {"epochs": 2})
    assert run.summary() == {"epochs": 2}
    for damaged in ("{", "5", "[1]", "null"):
        (run.folder / "summary.json").write_text(damaged)
        with pytest.raises(RunError, match=r"summary\.json is damaged"):
            run.summary()


# Damage


@pytest.mark.parametrize("name", ["nowhere", "novel.txt", ".", "a" * 300])
def test_what_is_no_run_folder(novel, tmp_path, name):
    error = open_error(tmp_path / name)
    assert "is not a run folder: it has no run.json" in error.message
    assert error.hint == "train one first"


def test_what_is_no_run_folder_tells_those_that_are(config, corpus, tmp_path):
    known = Run.create(None, config, corpus)
    assert known.folder.name in open_error(tmp_path / "nowhere").hint


@pytest.mark.parametrize("number", [0, 2, "1", None, [1]])
def test_another_format(run, number):
    edit(run.folder / "run.json", lambda about: {**about, "format": number})
    error = open_error(run.folder)
    assert error.message == f"{run.folder} has the format {number}; this version reads 1"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\0", b"[" * 100_000])
@pytest.mark.parametrize("name", ["run.json", "vocabulary.json"])
def test_files_that_are_not_json(run, name, data):
    (run.folder / name).write_bytes(data)
    assert open_error(run.folder).message == f"{run.folder / name} is damaged: it is not JSON"


@pytest.mark.parametrize("content", [[], {}, 5, None, "text", [1, 2], {"format": 1}])
def test_a_run_json_of_something_else(run, content):
    write_json(run.folder / "run.json", content)
    assert "run.json is damaged: " in open_error(run.folder).message


@pytest.mark.parametrize("key", ["format", "created", "config", "corpus", "versions"])
def test_a_run_json_with_a_missing_part(run, key):
    edit(run.folder / "run.json", lambda about: {k: v for k, v in about.items() if k != key})
    message = open_error(run.folder).message
    assert message == f"{run.folder / 'run.json'} is damaged: '{key}'"


@pytest.mark.parametrize("key", ["config", "corpus", "versions"])
@pytest.mark.parametrize("value", [None, 5, "text", [1]])
def test_a_run_json_with_a_wrong_part(run, key, value):
    edit(run.folder / "run.json", lambda about: {**about, key: value})
    assert "run.json is damaged: " in open_error(run.folder).message


@pytest.mark.parametrize("key", ["name", "source", "cleaning", "sha256", "characters", "split"])
def test_a_run_json_that_does_not_know_its_corpus(run, key):
    def change(about):
        del about["corpus"][key]
        return about

    edit(run.folder / "run.json", change)
    assert key in open_error(run.folder).message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "hidden_size", 0),
        ("model", "hidden_size", "many"),
        ("model", "sell", "gru"),
        ("modell", "cell", "gru"),
        ("training", "epochs", None),
    ],
)
def test_a_run_json_with_settings_that_cannot_be(run, section, key, value):
    def change(about):
        about["config"].setdefault(section, {})[key] = value
        return about

    edit(run.folder / "run.json", change)
    assert "run.json is damaged: " in open_error(run.folder).message


@pytest.mark.parametrize("content", [{}, 5, None, "abc", ["a", 1], ["ab"], [""], ["a", "a"]])
def test_a_vocabulary_of_something_else(run, content):
    write_json(run.folder / "vocabulary.json", content)
    assert "vocabulary.json is damaged: " in open_error(run.folder).message


def test_a_missing_vocabulary(run):
    (run.folder / "vocabulary.json").unlink()
    assert "cannot read" in open_error(run.folder).message


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.jsonl"])
@pytest.mark.parametrize("line", ["{", "5", "[]", "\0", "[" * 100_000])
def test_a_line_that_is_no_object(trained, name, line):
    path = trained.folder / name
    path.write_text(path.read_text("utf-8") + line, "utf-8")
    assert open_error(trained.folder).message.startswith(f"{path} is damaged: a line is not ")


def test_lines_that_are_not_utf8(trained):
    (trained.folder / "samples.jsonl").write_bytes(b'{"a": "\xff"}\n')
    assert "is damaged" in open_error(trained.folder).message


def test_every_truncation_is_an_error_of_one_line(trained):
    for name in ("run.json", "vocabulary.json"):
        path = trained.folder / name
        data = path.read_bytes()
        for size in range(0, len(data) - 1, 41):  # the last byte is a line end
            path.write_bytes(data[:size])
            open_error(trained.folder)
        path.write_bytes(data)
    assert Run.open(trained.folder) == trained


# Finding


def test_the_newest_run_is_the_newest_with_weights(config, corpus):
    for index, name in enumerate(["b", "a", "c", "d"]):
        run = Run.create(CHECKPOINTS / name, config, corpus)
        if name != "d":
            model = build_language_model(config.model, len(corpus.vocabulary))
            run.save(best=snapshot(model), last=snapshot(model))
        os.utime(run.folder / "run.json", (1000 + index, 1000 + index))
    (CHECKPOINTS / "e").mkdir()
    (CHECKPOINTS / "README.md").touch()
    assert [folder.name for folder in run_folders()] == ["d", "c", "a", "b"]
    assert newest_run() == CHECKPOINTS / "c"
    os.utime(CHECKPOINTS / "b" / "run.json", (2000, 2000))
    assert newest_run() == CHECKPOINTS / "b"


def test_no_trained_run(config, corpus, tmp_path):
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            newest_run()
        assert caught.value.message == f"no trained run under {tmp_path / 'checkpoints'}"
        assert caught.value.hint == "train one: charlm train"
        Run.create(None, config, corpus)  # without weights
    assert len(run_folders()) == 2


# The text


def test_the_text_is_read_and_split_again_as_it_was(novel):
    settings = {
        "source": str(novel), "cleaning": "letters", "max_chars": 200, "vocabulary_from": "kept",
        "split": [0.5, 0.3, 0.2],
    }  # fmt: skip
    config = Config.from_layers([{"corpus": settings}, SETTINGS])
    corpus = load_run_corpus(config.corpus, None, None)
    run = Run.open(Run.create(None, config, corpus).folder)
    again = run.load_corpus()
    assert again.vocabulary == corpus.vocabulary == run.vocabulary
    assert again.split_sizes == corpus.split_sizes == (100, 60, 40)
    assert np.array_equal(again.ids, corpus.ids)


@pytest.mark.parametrize("kind", ["whole", "kept"])
def test_the_vocabulary_is_of_the_whole_text_or_of_what_is_kept(config, kind):
    settings = dataclasses.replace(config.corpus, max_chars=8, vocabulary_from=kind)
    corpus = load_run_corpus(settings, None, None)
    read = TEXT if kind == "whole" else TEXT[:8]
    assert set(corpus.vocabulary.characters) == set(read)


def test_the_text_is_read_with_the_runs_own_vocabulary(run):
    edit(run.folder / "vocabulary.json", lambda characters: characters[::-1])
    opened = Run.open(run.folder)
    again = opened.load_corpus()
    assert again.vocabulary == opened.vocabulary != run.vocabulary
    assert again.text("train") == TEXT[: again.split_sizes[0]]


@pytest.mark.parametrize(
    "change", [lambda data: data + b"x", lambda data: data.replace(b"h", b"H")]
)
def test_a_text_that_has_changed_is_refused(run, novel, change):
    novel.write_bytes(change(novel.read_bytes()))
    with pytest.raises(CorpusError) as caught:
        run.load_corpus()
    assert "is not the text that" in caught.value.message
    assert run.corpus["sha256"][:12] in caught.value.message
    assert "\n" not in caught.value.message
    assert "--text FILE" in caught.value.hint


def test_a_text_that_is_gone_is_an_error(run, novel):
    novel.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        run.load_corpus()


def test_a_bundled_text_is_found_from_anywhere(tmp_path, monkeypatch):
    config = Config.from_layers([SETTINGS])
    corpus = load_corpus("traveller")
    run = Run.create(tmp_path / "run", config, corpus)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert np.array_equal(Run.open(run.folder).load_corpus().ids, corpus.ids)


def test_a_corpora_folder_is_looked_in(config, corpus, tmp_path, novel):
    own = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, source="mine"))
    (tmp_path / "texts").mkdir()
    novel.rename(tmp_path / "texts" / "mine.txt")
    run = Run.create(None, own, corpus)
    assert np.array_equal(run.load_corpus(tmp_path / "texts").ids, corpus.ids)
    with pytest.raises(CorpusError, match="is called 'mine'"):
        run.load_corpus()


@pytest.mark.parametrize("encoding", [None, "gb18030"])
def test_a_text_from_standard_input_is_kept_and_read_again(novel, tmp_path, encoding):
    data = TEXT.encode(encoding or "utf-8").replace(b"\n", b"\r\n")
    novel.write_bytes(data)
    layer = {"corpus": {"source": "-", "encoding": encoding, "split": [0.5, 0.25, 0.25]}}
    config = Config.from_layers([layer, SETTINGS])
    corpus = load_run_corpus(config.corpus, novel, None)
    run = Run.create(tmp_path / "run", config, corpus, kept=novel)
    novel.unlink()
    assert (run.folder / "corpus.txt").read_bytes() == data
    opened = Run.open(run.folder)
    again = opened.load_corpus()
    assert np.array_equal(again.ids, corpus.ids)
    assert again.split_sizes == corpus.split_sizes
    assert again.text("train") == TEXT[: again.split_sizes[0]]
    (run.folder / "corpus.txt").write_bytes(data + b"x")
    with pytest.raises(CorpusError, match="is not the text that"):
        opened.load_corpus()
    (run.folder / "corpus.txt").unlink()
    with pytest.raises(CorpusError, match=r"corpus\.txt"):
        opened.load_corpus()


def test_a_text_whose_name_is_no_utf8(tmp_path):
    name = os.fsdecode(b"\xff.txt")
    try:
        (tmp_path / name).write_bytes(TEXT.encode())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    config = Config.from_layers([{"corpus": {"source": str(tmp_path / name)}}, SETTINGS])
    run = Run.create(tmp_path / "run", config, load_run_corpus(config.corpus, None, None))
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.load_corpus().characters == len(TEXT)
