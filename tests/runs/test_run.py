"""The run: made, opened again, damaged, gone on with, and its text read again."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from charlm.config import LanguageModelConfig
from charlm.corpus import Corpus, Vocabulary, load_corpus
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.build import build_language_model
from charlm.runs import Run, load_run_corpus
from charlm.runs.checkpoint import FILES, MANIFEST, checkpoint_folders
from charlm.runs.files import write_json
from charlm.training import train
from charlm.training.optimisation import snapshot


def open_error(folder: Path, **options) -> RunError:
    with pytest.raises(RunError) as caught:
        Run.open(folder, **options)
    assert str(folder) in caught.value.message
    for line in (caught.value.message, caught.value.hint or "-"):
        assert line.isprintable()
    return caught.value


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content)), "utf-8")


def same(left: Run, right: Run) -> bool:
    """JSON has lists where a run in memory may have tuples."""
    kept = [json.loads(json.dumps(run.training)) for run in (left, right)]
    bare = [dataclasses.replace(run, training={}) for run in (left, right)]
    return kept[0] == kept[1] and bare[0] == bare[1]


@pytest.fixture
def again():
    """Gives a run one more checkpoint, of what is in its newest but for what was changed."""

    def save(run, **changes):
        data = run.checkpoint.read("training.safetensors", 2**20)
        numbers = {key: run.training[key] for key in run.training.keys() - {"source", "settings"}}
        what = {
            "best": run.read_weights("best"),
            "last": run.read_weights("last"),
            "tensors": load(data),
            "training": numbers,
        }
        run.save(**{**what, **changes})

    return save


# Making


def test_the_folder_and_its_files(run, config, corpus, tmp_path, text):
    assert run.folder == tmp_path / "run"
    assert sorted(path.name for path in run.folder.iterdir()) == [
        ".lock",
        "run.json",
        "vocabulary.json",
    ]
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert about.keys() == {"format", "task", "created", "config", "corpus", "versions"}
    assert about["format"] == 3
    assert about["config"] == json.loads(json.dumps(config.to_dict()))
    assert about["corpus"] == {
        "name": "novel",
        "source": str(tmp_path / "novel.txt"),
        "cleaning": "none",
        "sha256": corpus.sha256,
        "characters": len(text),
        "split": list(corpus.split_sizes),
    }
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"].keys() == {"charlm", "torch", "numpy", "python"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", about["created"])
    characters = json.loads((run.folder / "vocabulary.json").read_text("utf-8"))
    assert characters == list(corpus.vocabulary.characters)


# Opening


def test_an_opened_run_is_the_one_that_was_made(run):
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.config.training.prefixes == ("the ", "分")
    assert (opened.metrics, opened.samples, opened.notices) == ([], [], ())
    assert opened.checkpoint is None
    assert opened.summary() is None


def test_an_opened_run_is_the_one_that_was_trained(traveller, trained, settings, tmp_path):
    """With all metrics and samples, and where the training stands."""
    run = Run.create(tmp_path / "other", trained.config, traveller)
    events = list(train(run, traveller, device=torch.device("cpu")))
    assert len(events) > 40
    opened = Run.open(run.folder)
    assert same(opened, run)
    assert opened.training["position"]["whole_epochs"] == 1
    assert len(opened.metrics) > 1
    assert len(opened.samples) == 2


def test_a_run_is_opened_from_anywhere(trained, monkeypatch):
    for folder in ("trained", "./trained", "trained/../trained/", str(trained.folder)):
        assert Run.open(Path(folder)).checkpoint.records == trained.checkpoint.records
    monkeypatch.chdir(trained.folder)
    assert Run.open(Path()).checkpoint.folder == Path(trained.checkpoint.folder.name)


def test_metrics_and_samples_are_json_lines(trained):
    for name, rows in (("metrics", trained.metrics), ("samples", trained.samples)):
        data = (trained.checkpoint.folder / f"{name}.jsonl").read_bytes()
        assert data.endswith(b"\n")
        assert rows == [json.loads(line) for line in data.split(b"\n")[:-1]] != []


def test_samples_with_what_ends_a_line_for_python_but_not_in_json(trained, again):
    text = "分\n\r\x85\u2028\u2029\x0b\x1c😀\ud800"
    trained.samples.append({"epoch": 3, "prefix": "分", "text": text})
    again(trained)
    assert same(Run.open(trained.folder), trained)
    assert "分".encode() in (trained.checkpoint.folder / "samples.jsonl").read_bytes()


def test_each_checkpoint_has_its_own_weights_metrics_and_samples(trained, again):
    before = Run.open(trained.folder)
    last = {name: tensor + 1 for name, tensor in before.read_weights("last").items()}
    trained.metrics.append({**trained.metrics[-1], "epoch": 3})
    again(trained, last=last)
    newest, older = checkpoint_folders(trained.folder)
    assert older == before.checkpoint.folder
    assert Run.open(older) == before
    opened = Run.open(newest)
    assert opened == Run.open(trained.folder)
    assert same(opened, trained)
    assert opened.metrics == [*before.metrics, {**before.metrics[-1], "epoch": 3}]
    assert all(torch.equal(opened.read_weights("last")[name], last[name]) for name in last)
    assert all(
        torch.equal(tensor, before.read_weights("best")[name])
        for name, tensor in opened.read_weights("best").items()
    )


@pytest.mark.parametrize("embedding", ["tied", "learned", "one-hot"])
def test_weights_come_back_to_the_last_bit(config, corpus, tmp_path, embedding):
    model = dataclasses.replace(config.model, embedding=embedding)
    config = dataclasses.replace(config, model=model)
    run = Run.create(tmp_path / embedding, config, corpus)
    built = build_language_model(config.model, len(corpus.vocabulary))
    with torch.no_grad():
        built.head.weight[0, :2] = torch.tensor([-0.0, 1e-45])
    best, last = snapshot(built), {name: -tensor for name, tensor in snapshot(built).items()}
    numbers = {"position": {}}
    run.save(best=best, last=last, tensors={}, training=numbers)
    opened = Run.open(run.folder)
    for name, weights in (("best", best), ("last", last)):
        found = snapshot(opened.load_model(name))
        assert found.keys() == weights.keys()
        for key, tensor in weights.items():
            assert torch.equal(found[key].view(torch.int32), tensor.view(torch.int32))
    loaded = opened.load_model()
    assert (loaded.head.weight is getattr(loaded.embedding, "weight", None)) == (
        embedding == "tied"
    )
    inputs = torch.randint(len(corpus.vocabulary), (7, 2))
    logits = [each.eval()(inputs, each.initial_state(2))[0] for each in (built, loaded)]
    assert torch.equal(*logits)


def test_where_there_is_no_best_the_last_weights_are_written_twice(trained, again):
    last = trained.read_weights("last")
    again(trained, best=last, last=last)
    files = [trained.checkpoint.folder / f"{name}.safetensors" for name in ("best", "last")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_models_are_on_the_cpu_and_in_evaluation_mode(trained):
    model = trained.load_model()
    assert not model.training
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_best_weights_are_loaded_unless_told(trained, again):
    last = {name: tensor + 1 for name, tensor in trained.read_weights("last").items()}
    again(trained, last=last)
    best, default, last = (
        snapshot(each)
        for each in (trained.load_model("best"), trained.load_model(), trained.load_model("last"))
    )
    assert all(torch.equal(best[name], default[name]) for name in best)
    assert not any(torch.equal(best[name], last[name]) for name in best)


def test_a_run_without_a_checkpoint_has_no_model_yet(run, one_line):
    for weights in ("best", "last"):
        with pytest.raises(RunError) as caught:
            run.load_model(weights)
        assert one_line(caught.value) == f"{run.folder} has no checkpoint yet"
        assert caught.value.hint == "charlm train --resume goes on with it"


def test_a_first_checkpoint_that_is_half_written_is_left_out_and_told(run, one_line):
    (run.folder / "checkpoint-000001").mkdir()
    opened = Run.open(run.folder)
    assert opened.checkpoint is None
    (notice,) = opened.notices
    assert "checkpoint-000001 was not written to its end" in notice


def test_without_the_weights_their_files_are_not_read(trained):
    newest, before = checkpoint_folders(trained.folder)
    for name in ("last", "best", "training"):
        (newest / f"{name}.safetensors").write_bytes(b"")
    opened = Run.open(trained.folder, weights=False)
    assert opened == trained
    assert Run.open(trained.folder).checkpoint.folder == before
    with pytest.raises(RunError, match="is damaged"):
        opened.load_model()
    (newest / "metrics.jsonl").write_bytes(b"")
    assert Run.open(trained.folder, weights=False).checkpoint.folder == before


def test_a_checkpoint_can_be_named(trained, one_line):
    newest, before = checkpoint_folders(trained.folder)
    assert Run.open(newest) == trained
    earlier = Run.open(before)
    assert earlier.folder == trained.folder
    assert earlier.checkpoint.folder == before
    assert earlier.training["position"]["step"] < trained.training["position"]["step"]
    (before / MANIFEST).unlink()
    assert MANIFEST in open_error(before).message
    missing = trained.folder / "checkpoint-000099"
    assert MANIFEST in open_error(missing).message


def test_a_run_whose_folder_has_the_name_of_a_checkpoint(config, corpus, tmp_path):
    run = Run.create(tmp_path / "checkpoint-000001", config, corpus)
    assert Run.open(run.folder) == run


def test_the_settings_of_the_newest_checkpoint_are_the_runs(trained, again):
    new = dataclasses.replace(trained.config.training, epochs=7, lr=0.5, prefixes=("a", "b"))
    trained.change(dataclasses.replace(trained.config, training=new))
    again(trained)
    opened = Run.open(trained.folder)
    assert opened.config.training == new
    assert same(opened, trained)
    about = json.loads((trained.folder / "run.json").read_text())
    assert about["config"]["training"]["epochs"] == 2  # as it was begun


def test_a_full_disk_leaves_what_was_saved(trained, again, monkeypatch, one_line):
    before = {path: path.read_bytes() for path in trained.folder.rglob("*") if path.is_file()}

    def fail(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(RunError) as caught:
            again(trained)
    assert "No space left on device" in one_line(caught.value)
    after = {path: path.read_bytes() for path in trained.folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    with trained.locked():
        pass
    assert {path for path in trained.folder.rglob("*") if path.is_file()} == {
        *before, trained.folder / ".lock",
    }  # fmt: skip
    assert Run.open(trained.folder).metrics == trained.metrics


def test_no_file_of_a_run_is_a_pickle(trained, novel, settings):
    config = LanguageModelConfig.from_settings([{"corpus": {"source": "-"}}, settings])
    write_json(trained.folder / "summary.json", {"epochs": 2})
    piped = Run.create(None, config, load_run_corpus(config.corpus, novel, None), kept=novel)
    files = [
        path for run in (trained, piped) for path in run.folder.rglob("*") if path.is_file()
    ]  # fmt: skip
    assert {path.name for path in files} == {
        *FILES, MANIFEST, "run.json", "vocabulary.json", "summary.json", "corpus.txt", ".lock",
    }  # fmt: skip
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        else:
            data.decode("utf-8")


def test_a_summary(run):
    assert run.summary() is None
    write_json(run.folder / "summary.json", {"epochs": 2})
    assert run.summary() == {"epochs": 2}
    for damaged in ("{", "5", "[1]", "null", '{"epochs": "two"}', '{"seconds": -1}'):
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


@pytest.mark.parametrize("number", [0, 1, 2, -1])
def test_another_format_says_so(run, number):
    path = run.folder / "run.json"
    edit(path, lambda about: {**about, "format": number})
    message = f"{path} has the format {number}; this version reads 3"
    assert open_error(run.folder).message == message


@pytest.mark.parametrize("number", ["3", 3.0, None, [3], True, {}])
def test_a_format_that_is_no_number(run, number):
    edit(run.folder / "run.json", lambda about: {**about, "format": number})
    assert "run.json" in open_error(run.folder).message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\0", b"[" * 100_000])
@pytest.mark.parametrize("name", ["run.json", "vocabulary.json"])
def test_files_that_are_not_json(run, name, data):
    (run.folder / name).write_bytes(data)
    assert open_error(run.folder).message == f"{run.folder / name} is damaged: it is not JSON"


@pytest.mark.parametrize("content", [[], {}, 5, None, "text", [1, 2], {"format": 3}])
def test_a_run_json_of_something_else(run, content):
    write_json(run.folder / "run.json", content)
    assert "run.json is damaged: " in open_error(run.folder).message


@pytest.mark.parametrize("key", ["format", "task", "created", "config", "corpus", "versions"])
def test_a_run_json_with_a_missing_part(run, key):
    edit(run.folder / "run.json", lambda about: {k: v for k, v in about.items() if k != key})
    message = open_error(run.folder).message
    assert message == f"{run.folder / 'run.json'} is damaged: it has no '{key}'"


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


def test_every_truncation_is_an_error_of_one_line(trained):
    for name in ("run.json", "vocabulary.json"):
        path = trained.folder / name
        data = path.read_bytes()
        for size in range(0, len(data), 41):
            path.write_bytes(data[:size])
            open_error(trained.folder)
        path.write_bytes(data)
    assert Run.open(trained.folder) == trained


# Going on with other settings

OTHERS = {
    "corpus": {
        "source": "elsewhere/text.txt", "cleaning": "letters", "encoding": "gb18030",
        "max_chars": 3999, "vocabulary_from": "kept", "split": (0.8, 0.1, 0.1),
    },
    "model": {
        "cell": "lstm", "backend": "scratch", "hidden_size": 5, "num_layers": 2,
        "embedding": "tied", "embedding_size": 5, "initialisation": "book", "input_dropout": 0.11,
        "dropout": 0.12, "output_dropout": 0.13, "weight_dropout": 0.14,
    },
    "training": {
        "sampling": "random", "seq_len": 21, "batch_size": 9, "offset": "none", "drop_last": True,
        "epochs": 3, "minutes": 2.5, "optimiser": "sgd", "lr": 0.5, "beta2": 0.5,
        "weight_decay": 0.5, "schedule": "constant", "warmup": 0.5, "clip_norm": 0.5,
        "averaging": 0.5,
        "patience": 3, "seed": 1, "device": "cpu", "deterministic": True, "precision": "float32",
        "prefixes": ("a",), "sample_every": 3, "sample_length": 7, "sample_temperature": 0.5,
        "save_minutes": 3.0, "save_steps": 5,
    },
}  # fmt: skip
FREE = {
    ("corpus", "source"),
    *(("training", key) for key in (
        "epochs", "minutes", "patience", "lr", "clip_norm", "device", "deterministic", "prefixes",
        "sample_every", "sample_length", "sample_temperature", "save_minutes", "save_steps",
    )),
}  # fmt: skip
"""What can be another when a training goes on: nothing that its past was made of."""
NAMES = [(section, key) for section, values in OTHERS.items() for key in values]


def test_every_setting_is_tried():
    fields = {
        name: dataclasses.fields(section)
        for name, section in LanguageModelConfig.sections().items()
    }
    known = [(name, field.name) for name, section in fields.items() for field in section]
    assert sorted(NAMES) == sorted(known)
    assert LanguageModelConfig.resumable() == FREE


def other(config, changes):
    """A configuration with changes; `from_settings` would unset epochs for minutes."""
    return dataclasses.replace(
        config,
        **{
            section: dataclasses.replace(
                getattr(config, section),
                **{key: OTHERS[section][key] for name, key in changes if name == section},
            )
            for section in OTHERS
        },
    )


@pytest.mark.parametrize(("section", "key"), NAMES)
def test_a_setting_can_change_or_is_named_and_refused(trained, one_line, section, key):
    old = trained.config
    new = other(old, [(section, key)])
    before = getattr(getattr(old, section), key)
    after = getattr(getattr(new, section), key)
    assert before != after
    if (section, key) in FREE:
        trained.change(new)
        assert trained.config == new
        return
    with pytest.raises(UsageError) as caught:
        trained.change(new)
    assert one_line(caught.value) == (
        f"{trained.folder} cannot go on with other settings: "
        f"{section}.{key} is {before} in the run, not {after}"
    )
    assert "without --resume" in caught.value.hint
    assert trained.config == old


def test_all_settings_that_cannot_change_are_named_at_once(trained, one_line):
    old = trained.config
    with pytest.raises(UsageError) as caught:
        trained.change(other(old, NAMES))
    message = one_line(caught.value)
    for section, key in NAMES:
        assert (f"{section}.{key} is " in message) == ((section, key) not in FREE), key
    assert message.count("; ") == len(NAMES) - len(FREE) - 1
    assert trained.config == old


def test_all_settings_that_can_change_can_change_at_once(trained):
    new = other(trained.config, FREE)
    trained.change(new)
    assert trained.config == new
    trained.change(new)  # nothing to change is fine


# Going on with the same text


def test_the_same_text_is_accepted(run, corpus, trained, traveller):
    run.check_corpus(corpus)
    trained.check_corpus(traveller)
    Run.open(trained.folder).check_corpus(dataclasses.replace(traveller, source="elsewhere"))


DIFFERENCES = {
    "sha256": ({"sha256": "0123456789abcdef"}, "sha256 0123456789ab..., not {sha256:.12}..."),
    "cleaning": ({"cleaning": "spaces"}, "cleaning spaces, not none"),
    "characters": (
        {"characters": 3999, "split_sizes": (3600, 200, 199)},
        "characters 3,999, not 4,000; split 3,600/200/199, not {split}",
    ),
    "split": ({"split_sizes": (3000, 900, 100)}, "split 3,000/900/100, not {split}"),
    "vocabulary": (
        {"vocabulary": Vocabulary(tuple("abc"))}, "vocabulary of 4 entries, not the run's {size}"
    ),
}  # fmt: skip


class Other:
    """A corpus that is another in some ways."""

    def __init__(self, corpus, changes):
        self.__dict__ = {name: getattr(corpus, name) for name in (
            "name", "source", "cleaning", "sha256", "characters", "split_sizes", "vocabulary",
        )} | changes  # fmt: skip

    describe = Corpus.describe


def shown(message, run):
    sizes = "/".join(f"{size:,}" for size in run.corpus["split"])
    return message.format(sha256=run.corpus["sha256"], split=sizes, size=f"{len(run.vocabulary):,}")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_of_a_text_is_named(trained, traveller, one_line, name):
    changes, message = DIFFERENCES[name]
    with pytest.raises(CorpusError) as caught:
        trained.check_corpus(Other(traveller, changes))
    assert one_line(caught.value) == (
        f"{traveller.source} is not the data that {trained.folder} was trained on: "
        + shown(message, trained)
    )
    assert "charlm eval --text FILE" in caught.value.hint


def test_all_differences_of_a_text_are_named_at_once(trained, traveller, one_line):
    changes = {key: value for each, _ in DIFFERENCES.values() for key, value in each.items()}
    with pytest.raises(CorpusError) as caught:
        trained.check_corpus(Other(traveller, changes))
    message = one_line(caught.value)
    for name, (_, words) in DIFFERENCES.items():
        if name != "characters":
            assert shown(words, trained) in message
    assert "characters 3,999, not 4,000" in message


def test_a_vocabulary_in_another_order_is_another(trained, traveller, one_line):
    changed = Vocabulary(traveller.vocabulary.characters[::-1])
    with pytest.raises(CorpusError) as caught:
        trained.check_corpus(Other(traveller, {"vocabulary": changed}))
    size = len(traveller.vocabulary)
    assert f"vocabulary of {size} entries, not the run's {size}" in one_line(caught.value)


def test_training_on_another_text_is_refused_before_anything_is_written(trained, corpus):
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")}
    with pytest.raises(CorpusError, match="is not the data that"):
        next(train(trained, corpus, device=torch.device("cpu")))
    assert {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")} == before


# The text


def test_the_text_is_read_and_split_again_as_it_was(novel, settings):
    about = {
        "source": str(novel), "cleaning": "letters", "max_chars": 200, "vocabulary_from": "kept",
        "split": [0.5, 0.3, 0.2],
    }  # fmt: skip
    config = LanguageModelConfig.from_settings([{"corpus": about}, settings])
    corpus = load_run_corpus(config.corpus, None, None)
    run = Run.open(Run.create(None, config, corpus).folder)
    again = run.load_corpus()
    assert again.vocabulary == corpus.vocabulary == run.vocabulary
    assert again.split_sizes == corpus.split_sizes == (100, 60, 40)
    assert np.array_equal(again.ids, corpus.ids)


@pytest.mark.parametrize("kind", ["whole", "kept"])
def test_the_vocabulary_is_of_the_whole_text_or_of_what_is_kept(config, kind, text):
    about = dataclasses.replace(config.corpus, max_chars=8, vocabulary_from=kind)
    corpus = load_run_corpus(about, None, None)
    read = text if kind == "whole" else text[:8]
    assert set(corpus.vocabulary.characters) == set(read)


def test_a_text_that_gives_another_vocabulary_is_refused(run):
    edit(run.folder / "vocabulary.json", lambda characters: characters[::-1])
    with pytest.raises(CorpusError, match="vocabulary of 23 entries, not the run's 23"):
        Run.open(run.folder).load_corpus()


@pytest.mark.parametrize(
    "change", [lambda data: data + b"x", lambda data: data.replace(b"h", b"H")]
)
def test_a_text_that_has_changed_is_refused(run, novel, change):
    novel.write_bytes(change(novel.read_bytes()))
    with pytest.raises(CorpusError) as caught:
        run.load_corpus()
    assert "is not the data that" in caught.value.message
    assert run.corpus["sha256"][:12] in caught.value.message
    assert "\n" not in caught.value.message
    assert "--text FILE" in caught.value.hint


def test_a_text_that_is_gone_is_an_error(run, novel):
    novel.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        run.load_corpus()


def test_a_bundled_text_is_found_from_anywhere(tmp_path, monkeypatch, settings):
    config = LanguageModelConfig.from_settings([settings])
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
def test_a_text_from_standard_input_is_kept_and_read_again(
    novel, tmp_path, encoding, text, settings
):
    data = text.encode(encoding or "utf-8").replace(b"\n", b"\r\n")
    novel.write_bytes(data)
    layer = {"corpus": {"source": "-", "encoding": encoding, "split": [0.5, 0.25, 0.25]}}
    config = LanguageModelConfig.from_settings([layer, settings])
    corpus = load_run_corpus(config.corpus, novel, None)
    run = Run.create(tmp_path / "run", config, corpus, kept=novel)
    novel.unlink()
    assert (run.folder / "corpus.txt").read_bytes() == data
    opened = Run.open(run.folder)
    again = opened.load_corpus()
    assert np.array_equal(again.ids, corpus.ids)
    assert again.split_sizes == corpus.split_sizes
    assert again.text("train") == text[: again.split_sizes[0]]
    (run.folder / "corpus.txt").write_bytes(data + b"x")
    with pytest.raises(CorpusError, match="is not the data that"):
        opened.load_corpus()
    (run.folder / "corpus.txt").unlink()
    with pytest.raises(CorpusError, match=r"corpus\.txt"):
        opened.load_corpus()


def test_a_text_whose_name_is_no_utf8(tmp_path, text, settings):
    name = os.fsdecode(b"\xff.txt")
    try:
        (tmp_path / name).write_bytes(text.encode())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    config = LanguageModelConfig.from_settings(
        [{"corpus": {"source": str(tmp_path / name)}}, settings]
    )
    run = Run.create(tmp_path / "run", config, load_run_corpus(config.corpus, None, None))
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.load_corpus().characters == len(text)


# Other versions


def made_by_another_version(run, change):
    """run.json as another charlm may have written it."""
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    about["versions"]["charlm"] = "0.0.9"
    change(about["config"])
    (run.folder / "run.json").write_text(json.dumps(about), "utf-8")
    return run.folder


def test_settings_that_an_earlier_version_did_not_know_have_their_defaults(run):
    folder = made_by_another_version(run, lambda config: config["training"].pop("patience"))
    assert Run.open(folder).config == run.config


def test_a_run_of_this_version_has_all_settings(run):
    edit(
        run.folder / "run.json", lambda about: about["config"]["training"].pop("patience") or about
    )
    with pytest.raises(RunError, match="has no 'patience'"):
        Run.open(run.folder)


def test_settings_of_a_later_version_are_refused_by_name(run):
    folder = made_by_another_version(run, lambda config: config["model"].update(attention=3))
    with pytest.raises(RunError, match=r"unknown key of \[model\]: 'attention'"):
        Run.open(folder)


def test_where_both_checkpoints_are_damaged_the_newest_is_named(trained, one_line):
    newest, before = sorted(trained.folder.glob("checkpoint-*"), reverse=True)
    for folder in (newest, before):
        (folder / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        Run.open(trained.folder)
    assert str(newest) in one_line(caught.value)
