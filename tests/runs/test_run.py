"""A run: create it, open it, resume it with other settings, and read its corpus again."""

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

from charlm.corpus import Vocabulary
from charlm.errors import CorpusError, RunError, UsageError
from charlm.runs import Run
from charlm.runs.checkpoint import FILES, MANIFEST, checkpoint_folders
from charlm.runs.files import write_json
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.tasks.language_model.model import build_language_model
from charlm.training import train
from charlm.training.optimisation import snapshot

MISSING = object()


def open_error(folder: Path, **options) -> RunError:
    with pytest.raises(RunError) as caught:
        Run.open(folder, **options)
    assert str(folder) in caught.value.message
    for line in (caught.value.message, caught.value.hint or "-"):
        assert line.isprintable()
    return caught.value


def piped_corpus(config, path: Path) -> Corpus:
    """A text as from standard input."""
    corpus = LANGUAGE_MODEL.load_corpus(config, None, kept=path)
    return dataclasses.replace(corpus, raw=path.read_bytes())


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content)), "utf-8")


def same(left: Run, right: Run) -> bool:
    """Whether two runs are equal. JSON has lists where a run in memory has tuples."""
    training = [json.loads(json.dumps(run.training)) for run in (left, right)]
    rest = [dataclasses.replace(run, training={}) for run in (left, right)]
    return training[0] == training[1] and rest[0] == rest[1]


def equal(left, right) -> bool:
    """Whether two sets of weights are the same, bit for bit."""
    assert left.keys() == right.keys()
    return all(torch.equal(left[k].view(torch.int32), right[k].view(torch.int32)) for k in left)


def save_again(run, **changes):
    """Write the newest checkpoint once more, with changes."""
    data = run.checkpoint.read("training.safetensors", 2**20)
    content = {
        "best": run.read_weights("best"),
        "last": run.read_weights("last"),
        "tensors": load(data),
        "training": {k: run.training[k] for k in run.training.keys() - {"source", "settings"}},
    }
    run.save(**{**content, **changes})


# Create


def test_run_json_and_vocabulary(run, config, corpus, tmp_path, text):
    assert run.folder == tmp_path / "run"
    assert {path.name for path in run.folder.iterdir()} == {".lock", "run.json", "vocabulary.json"}
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    assert about.keys() == {"format", "task", "created", "config", "corpus", "versions"}
    assert about["format"] == 4
    assert config.model.backend == "auto"
    chosen = config.with_backend(run.config.model.backend)
    assert about["config"] == json.loads(json.dumps(chosen.to_dict()))
    assert run.config.model.backend in ("scratch", "torch")
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


def test_vocabulary_that_is_too_large_is_not_written(config, corpus, one_line, monkeypatch):
    monkeypatch.setattr("charlm.runs.run.MAX_VOCABULARY", 20)
    with pytest.raises(CorpusError) as caught:
        Run.create(Path("run"), config, corpus)
    assert one_line(caught.value).startswith(f"the vocabulary of {corpus.source} has ")
    assert not Path("run").exists()


# Open


def test_opened_run_equals_the_new_run(run):
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.config.training.prefixes == ("the ", "分")
    assert (opened.metrics, opened.samples, opened.notices) == ([], [], ())
    assert opened.checkpoint is None
    assert opened.summary() is None


def test_large_carried_state_is_within_the_size_limit(novel, tmp_path):
    novel.write_text("the time traveller " * 6000)
    settings = {
        "corpus": {"source": str(novel), "split": [0.98, 0.01, 0.01]},
        "model": {"cell": "lstm", "num_layers": 2, "hidden_size": 16, "embedding_size": 4},
        "training": {"batch_size": 50_000, "seq_len": 1, "epochs": 1},
    }
    config = LanguageModelConfig.from_settings([settings])
    corpus = LANGUAGE_MODEL.load_corpus(config, None)
    run = Run.create(tmp_path / "run", config, corpus)
    events = []
    for event in train(
        run, corpus, device=torch.device("cpu"), should_stop=lambda: len(events) > 1
    ):
        events.append(event)  # noqa: PERF402 - should_stop reads the list
    assert (run.checkpoint.folder / "training.safetensors").stat().st_size > 12_000_000
    assert same(Run.open(run.folder), run)


def test_opened_run_equals_the_trained_run(traveller, trained, tmp_path):
    run = Run.create(tmp_path / "other", trained.config, traveller)
    events = list(train(run, traveller, device=torch.device("cpu")))
    assert len(events) > 40
    opened = Run.open(run.folder)
    assert same(opened, run)
    assert opened.training["progress"]["whole_epochs"] == 1
    assert len(opened.metrics) > 1
    assert len(opened.samples) == 2


def test_run_opens_by_relative_and_absolute_paths(trained, monkeypatch):
    for folder in ("trained", "./trained", "trained/../trained/", str(trained.folder)):
        assert Run.open(Path(folder)).checkpoint.records == trained.checkpoint.records
    monkeypatch.chdir(trained.folder)
    assert Run.open(Path()).checkpoint.folder == Path(trained.checkpoint.folder.name)


def test_metrics_and_samples_are_json_lines(trained):
    for name, rows in (("metrics", trained.metrics), ("samples", trained.samples)):
        data = (trained.checkpoint.folder / f"{name}.jsonl").read_bytes()
        assert data.endswith(b"\n")
        assert rows == [json.loads(line) for line in data.split(b"\n")[:-1]] != []


def test_lines_from_before_the_norms_were_recorded(trained):
    keys = ("gradient_norm", "largest_gradient_norm", "clipped_share")
    for row in trained.metrics:
        for key in keys:
            del row[key]
    save_again(trained)
    assert [[row[key] for key in keys] for row in Run.open(trained.folder).metrics] == [
        [None] * 3 for _ in trained.metrics
    ]


def test_each_checkpoint_has_its_own_weights_metrics_and_samples(trained):
    before = Run.open(trained.folder)
    last = {name: tensor + 1 for name, tensor in before.read_weights("last").items()}
    trained.metrics.append({**trained.metrics[-1], "epoch": 3})
    trained.samples.append({"epoch": 3, "prefix": "分", "text": "分\n\r\x85\u2028\x1c😀\ud800"})
    save_again(trained, last=last)
    newest, older = checkpoint_folders(trained.folder)
    assert older == before.checkpoint.folder
    assert Run.open(older) == before
    opened = Run.open(newest)
    assert opened == Run.open(trained.folder)
    assert same(opened, trained)
    assert opened.metrics == [*before.metrics, {**before.metrics[-1], "epoch": 3}]
    assert equal(opened.read_weights("last"), last)
    assert equal(opened.read_weights("best"), before.read_weights("best"))


@pytest.mark.parametrize("embedding", ["tied", "learned", "one-hot"])
def test_loaded_model_has_the_saved_weights_bit_for_bit(config, corpus, tmp_path, embedding):
    model = dataclasses.replace(config.model, embedding=embedding)
    config = dataclasses.replace(config, model=model)
    run = Run.create(tmp_path / embedding, config, corpus)
    built = build_language_model(config.model, len(corpus.vocabulary))
    with torch.no_grad():
        built.head.weight[0, :2] = torch.tensor([-0.0, 1e-45])
    best, last = snapshot(built), {name: -tensor for name, tensor in snapshot(built).items()}
    run.save(best=best, last=last, tensors={}, training={"progress": {}})
    opened = Run.open(run.folder)
    for name, weights in (("best", best), ("last", last)):
        assert equal(snapshot(opened.load_model(name)), weights)
    loaded = opened.load_model()
    assert not loaded.training
    tied = loaded.head.weight is getattr(loaded.embedding, "weight", None)
    assert tied == (embedding == "tied")
    inputs = torch.randint(len(corpus.vocabulary), (7, 2))
    logits = [each.eval()(inputs, each.initial_state(2))[0] for each in (built, loaded)]
    assert torch.equal(*logits)


def test_best_weights_may_be_the_last_weights(trained):
    last = trained.read_weights("last")
    save_again(trained, best=last, last=last)
    files = [trained.checkpoint.folder / f"{name}.safetensors" for name in ("best", "last")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_best_weights_are_the_default(trained):
    last = {name: tensor + 1 for name, tensor in trained.read_weights("last").items()}
    save_again(trained, last=last)
    best, default, last = (
        snapshot(each)
        for each in (trained.load_model("best"), trained.load_model(), trained.load_model("last"))
    )
    assert equal(best, default)
    assert not any(torch.equal(best[name], last[name]) for name in best)
    with pytest.raises(UsageError, match="unknown weights: 'first'"):
        trained.load_model("first")


def test_run_without_a_checkpoint_has_no_model(run, one_line):
    for weights in ("best", "last"):
        with pytest.raises(RunError) as caught:
            run.load_model(weights)
        assert one_line(caught.value) == f"{run.folder} has no checkpoint yet"
        assert caught.value.hint == "charlm train --resume starts its training"


def test_incomplete_first_checkpoint_is_reported_and_not_used(run):
    (run.folder / "checkpoint-000001").mkdir()
    opened = Run.open(run.folder)
    assert opened.checkpoint is None
    assert opened.notices == (f"{run.folder / 'checkpoint-000001'} is incomplete and is not used",)


def test_tensors_are_not_read_without_weights(trained):
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


def test_run_opens_from_a_named_checkpoint(trained):
    newest, before = checkpoint_folders(trained.folder)
    assert Run.open(newest) == trained
    earlier = Run.open(before)
    assert earlier.folder == trained.folder
    assert earlier.checkpoint.folder == before
    assert earlier.training["progress"]["step"] < trained.training["progress"]["step"]
    (before / MANIFEST).unlink()
    assert MANIFEST in open_error(before).message
    missing = trained.folder / "checkpoint-000099"
    assert MANIFEST in open_error(missing).message


def test_run_folder_may_have_the_name_of_a_checkpoint(config, corpus, tmp_path):
    run = Run.create(tmp_path / "checkpoint-000001", config, corpus)
    assert Run.open(run.folder) == run


def test_settings_come_from_the_newest_checkpoint(trained):
    new = dataclasses.replace(trained.config.training, epochs=7, lr=0.5, prefixes=("a", "b"))
    trained.change(dataclasses.replace(trained.config, training=new))
    save_again(trained)
    opened = Run.open(trained.folder)
    assert opened.config.training == new
    assert same(opened, trained)
    about = json.loads((trained.folder / "run.json").read_text())
    assert about["config"]["training"]["epochs"] == 2  # run.json is never changed


def test_files_of_a_run_are_text_or_safetensors(trained, novel, settings):
    config = LanguageModelConfig.from_settings([{"corpus": {"source": "-"}}, settings])
    write_json(trained.folder / "summary.json", {"epochs": 2})
    piped = Run.create(None, config, piped_corpus(config, novel))
    paths = [*trained.folder.rglob("*"), *piped.folder.rglob("*")]
    # A training that takes more than some seconds has drawn a report, too.
    files = [path for path in paths if path.is_file() and path.name != "report.html"]
    others = {"run.json", "vocabulary.json", "summary.json", "corpus.txt", ".lock"}
    assert {path.name for path in files} == {*FILES, MANIFEST, *others}
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        else:
            data.decode("utf-8")


def test_summary(run):
    assert run.summary() is None
    write_json(run.folder / "summary.json", {"epochs": 2})
    assert run.summary() == {"epochs": 2}
    write_json(run.folder / "summary.json", {"seconds": 0.04})
    run.metrics.append({"seconds": 0.0449})
    assert run.summary() == {"seconds": 0.04}
    run.metrics.append({"seconds": 0.0651})
    assert run.summary() is None  # it was resumed later
    for damaged in ("{", "5", "[1]", "null", '{"epochs": "two"}', '{"seconds": -1}'):
        (run.folder / "summary.json").write_text(damaged)
        with pytest.raises(RunError, match=r"summary\.json is damaged"):
            run.summary()


# Damage


@pytest.mark.parametrize("name", ["nowhere", "novel.txt", ".", "a" * 300])
def test_path_that_is_not_a_run_folder(novel, tmp_path, name):
    error = open_error(tmp_path / name)
    assert "is not a run folder: it has no run.json" in error.message
    assert error.hint == "train one first"


def test_hint_names_the_newest_runs(config, corpus, tmp_path):
    known = Run.create(None, config, corpus)
    assert known.folder.name in open_error(tmp_path / "nowhere").hint


@pytest.mark.parametrize("number", [0, 3, -1])
def test_other_format_is_refused(run, number):
    path = run.folder / "run.json"
    edit(path, lambda about: {**about, "format": number})
    message = f"{path} has the format {number}; this version reads 4"
    assert open_error(run.folder).message == message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\0", b"[" * 100_000])
@pytest.mark.parametrize("name", ["run.json", "vocabulary.json"])
def test_file_that_is_not_json(run, name, data):
    (run.folder / name).write_bytes(data)
    assert open_error(run.folder).message == f"{run.folder / name} is damaged: it is not JSON"


@pytest.mark.parametrize("content", [[], {}, 5, None, "text", [1, 2], {"format": 4}])
def test_run_json_with_other_content(run, content):
    write_json(run.folder / "run.json", content)
    assert "run.json is damaged: " in open_error(run.folder).message


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(((k,), MISSING) for k in ("format", "task", "created", "config", "corpus", "versions")),
        *((("corpus", k), MISSING) for k in ("name", "source", "sha256", "split", "characters")),
        *((("format",), value) for value in ("4", 4.0, None, [4], True, {})),
        *(((key,), value) for key in ("config", "corpus", "versions") for value in (None, 5, [1])),
        (("created",), "two\nlines"),
        (("config", "model", "hidden_size"), 0),
        (("config", "model", "hidden_size"), "many"),
        (("config", "model", "sell"), "gru"),
        (("config", "modell"), {"cell": "gru"}),
        (("config", "training", "epochs"), None),
    ],
)
def test_run_json_with_a_wrong_part(run, place, value):
    def change(about):
        home = about
        for key in place[:-1]:
            home = home[key]
        home[place[-1]] = value
        if value is MISSING:
            del home[place[-1]]
        return about

    edit(run.folder / "run.json", change)
    message = open_error(run.folder).message
    assert message.startswith(f"{run.folder / 'run.json'} is damaged: ")
    assert value is not MISSING or place[-1] in message


@pytest.mark.parametrize("content", [{}, 5, None, "abc", ["a", 1], ["ab"], [""], ["a", "a"]])
def test_vocabulary_with_other_content(run, content):
    write_json(run.folder / "vocabulary.json", content)
    assert "vocabulary.json is damaged: " in open_error(run.folder).message


# Resume with other settings

OTHERS = {
    "corpus": {
        "source": "elsewhere/text.txt",
        "cleaning": "letters",
        "encoding": "gb18030",
        "include": ("*.py",),
        "exclude": ("old",),
        "lines": True,
        "distinct": True,
        "max_chars": 3999,
        "vocabulary_from": "kept",
        "min_count": 2,
        "split": (0.8, 0.1, 0.1),
    },
    "model": {
        "cell": "lstm",
        "backend": "torch",
        "hidden_size": 5,
        "num_layers": 2,
        "embedding": "tied",
        "embedding_size": 5,
        "initialisation": "book",
        "input_dropout": 0.11,
        "dropout": 0.12,
        "output_dropout": 0.13,
        "weight_dropout": 0.14,
        "residual": True,
        "mogrifier_rounds": 3,
        "mogrifier_rank": 2,
        "ngram_rows": 50,
        "ngram_dropout": 0.19,
        "embedding_dropout": 0.17,
        "activation": 1.0,
        "temporal_activation": 2.0,
        "past_decode": 0.18,
        "from_run": "/elsewhere/run",
    },
    "training": {
        "sampling": "random",
        "seq_len": 21,
        "batch_size": 9,
        "offset": "none",
        "drop_last": True,
        "epochs": 3,
        "minutes": 2.5,
        "optimiser": "sgd",
        "lr": 0.5,
        "beta1": 0.5,
        "beta2": 0.5,
        "weight_decay": 0.5,
        "schedule": "plateau",
        "plateau_patience": 2,
        "plateau_factor": 0.1,
        "warmup": 0.5,
        "clip_norm": 0.5,
        "averaging": None,
        "swa": 0.0,
        "nt_asgd": 5,
        "patience": 3,
        "seed": 1,
        "device": "cpu",
        "deterministic": True,
        "precision": "float32",
        "mix_ngram": True,
        "prefixes": ("a",),
        "sample_every": 3,
        "sample_length": 7,
        "sample_temperature": 0.5,
        "save_minutes": 3.0,
        "save_steps": 5,
    },
}
FREE_IN_TRAINING = (
    *("epochs", "minutes", "patience", "lr", "clip_norm", "device", "deterministic", "prefixes"),
    *("sample_every", "sample_length", "sample_temperature", "save_minutes", "save_steps"),
    "mix_ngram",
)
FREE = {("corpus", "source"), *(("training", key) for key in FREE_IN_TRAINING)}
"""The settings that may change: the steps so far did not depend on them."""
NAMES = [(section, key) for section, values in OTHERS.items() for key in values]


def test_every_setting_is_tested():
    fields = {
        name: dataclasses.fields(section)
        for name, section in LanguageModelConfig.sections().items()
    }
    known = [(name, field.name) for name, section in fields.items() for field in section]
    # A model can be frozen only if it starts from another one, torch has no zoneout, and layers
    # with skip connections do not fit a tied embedding, which has no n-grams either.
    keys = ("freeze", "zoneout_hidden", "zoneout_cell", "skip", "ngram_order")
    others = [("model", key) for key in keys]
    assert sorted([*NAMES, *others]) == sorted(known)
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
def test_setting_can_change_or_is_refused(trained, one_line, section, key):
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
        f"{trained.folder} cannot resume with other settings: "
        f"{section}.{key} is {before} in the run, not {after}"
    )
    assert "without --resume" in caught.value.hint
    assert trained.config == old


def test_message_lists_all_settings_that_cannot_change(trained, one_line):
    old = trained.config
    with pytest.raises(UsageError) as caught:
        trained.change(other(old, NAMES))
    message = one_line(caught.value)
    for section, key in NAMES:
        assert (f"{section}.{key} is " in message) == ((section, key) not in FREE), key
    assert message.count("; ") == len(NAMES) - len(FREE) - 1
    assert trained.config == old


def test_all_resumable_settings_can_change_together(trained):
    new = other(trained.config, FREE)
    for _ in range(2):
        trained.change(new)
        assert trained.config == new


# Resume with the same corpus


def test_same_corpus_is_accepted(run, corpus, trained, traveller):
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
        {"vocabulary": Vocabulary(tuple("abc"))},
        "vocabulary of 4 entries, not the run's {size}",
    ),
}


class Other:
    """A corpus with changes."""

    def __init__(self, corpus, changes):
        same = ("name", "source", "cleaning", "sha256", "characters", "split_sizes", "vocabulary")
        self.__dict__ = {name: getattr(corpus, name) for name in same} | changes

    describe = Corpus.describe


def shown(message, run):
    sizes = "/".join(f"{size:,}" for size in run.corpus["split"])
    return message.format(sha256=run.corpus["sha256"], split=sizes, size=f"{len(run.vocabulary):,}")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_message_names_the_difference_of_the_corpus(trained, traveller, one_line, name):
    changes, message = DIFFERENCES[name]
    with pytest.raises(CorpusError) as caught:
        trained.check_corpus(Other(traveller, changes))
    assert one_line(caught.value) == (
        f"{traveller.source} is not the data that {trained.folder} was trained on: "
        + shown(message, trained)
    )
    assert caught.value.hint == "name the right data with --corpus"


def test_training_on_another_corpus_is_refused_before_writing(trained, corpus):
    before = {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")}
    with pytest.raises(CorpusError, match="is not the data that"):
        next(train(trained, corpus, device=torch.device("cpu")))
    assert {path: path.stat().st_mtime_ns for path in trained.folder.rglob("*")} == before


# Read the corpus again


def test_corpus_is_read_and_split_as_before(novel, settings):
    about = {
        "source": str(novel),
        "cleaning": "letters",
        "max_chars": 200,
        "vocabulary_from": "kept",
        "split": [0.5, 0.3, 0.2],
    }
    config = LanguageModelConfig.from_settings([{"corpus": about}, settings])
    corpus = LANGUAGE_MODEL.load_corpus(config, None)
    run = Run.open(Run.create(None, config, corpus).folder)
    again = run.load_corpus()
    assert again.vocabulary == corpus.vocabulary == run.vocabulary
    assert again.split_sizes == corpus.split_sizes == (100, 60, 40)
    assert np.array_equal(again.ids, corpus.ids)


@pytest.mark.parametrize("kind", ["whole", "kept"])
def test_vocabulary_from_the_whole_or_the_kept_text(config, kind, text):
    about = dataclasses.replace(config.corpus, max_chars=8, vocabulary_from=kind)
    corpus = LANGUAGE_MODEL.load_corpus(dataclasses.replace(config, corpus=about), None)
    read = text if kind == "whole" else text[:8]
    assert set(corpus.vocabulary.characters) == set(read)


def test_corpus_with_another_vocabulary_is_refused(run):
    edit(run.folder / "vocabulary.json", lambda characters: characters[::-1])
    with pytest.raises(CorpusError, match="vocabulary of 23 entries, not the run's 23"):
        Run.open(run.folder).load_corpus()


@pytest.mark.parametrize(
    "change", [lambda data: data + b"x", lambda data: data.replace(b"h", b"H")]
)
def test_changed_corpus_is_refused(run, novel, change):
    novel.write_bytes(change(novel.read_bytes()))
    with pytest.raises(CorpusError) as caught:
        run.load_corpus()
    assert "is not the data that" in caught.value.message
    assert run.corpus["sha256"][:12] in caught.value.message


def test_missing_corpus_is_an_error(run, novel):
    novel.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        run.load_corpus()


def test_bundled_text_is_found_from_any_folder(tmp_path, monkeypatch, settings):
    config = LanguageModelConfig.from_settings([settings])
    corpus = load_corpus("traveller")
    run = Run.create(tmp_path / "run", config, corpus)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert np.array_equal(Run.open(run.folder).load_corpus().ids, corpus.ids)


def test_corpora_folder_is_searched(config, corpus, tmp_path, novel):
    own = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, source="mine"))
    (tmp_path / "texts").mkdir()
    novel.rename(tmp_path / "texts" / "mine.txt")
    run = Run.create(None, own, corpus)
    assert np.array_equal(run.load_corpus(tmp_path / "texts").ids, corpus.ids)
    with pytest.raises(CorpusError, match="is called 'mine'"):
        run.load_corpus()


@pytest.mark.parametrize("encoding", [None, "gb18030"])
def test_standard_input_is_kept_and_read_again(novel, tmp_path, encoding, text, settings):
    data = text.encode(encoding or "utf-8").replace(b"\n", b"\r\n")
    novel.write_bytes(data)
    layer = {"corpus": {"source": "-", "encoding": encoding, "split": [0.5, 0.25, 0.25]}}
    config = LanguageModelConfig.from_settings([layer, settings])
    corpus = piped_corpus(config, novel)
    run = Run.create(tmp_path / "run", config, corpus)
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


def test_corpus_with_a_name_that_is_not_utf8(tmp_path, text, settings):
    name = os.fsdecode(b"\xff.txt")
    try:
        (tmp_path / name).write_bytes(text.encode())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    config = LanguageModelConfig.from_settings(
        [{"corpus": {"source": str(tmp_path / name)}}, settings]
    )
    run = Run.create(tmp_path / "run", config, LANGUAGE_MODEL.load_corpus(config, None))
    opened = Run.open(run.folder)
    assert opened == run
    assert opened.load_corpus().characters == len(text)


# Other versions


def made_by_another_version(run, change):
    """Write run.json as another version might have written it."""
    about = json.loads((run.folder / "run.json").read_text("utf-8"))
    about["versions"]["charlm"] = "0.0.9"
    change(about["config"])
    (run.folder / "run.json").write_text(json.dumps(about), "utf-8")
    return run.folder


def test_settings_that_an_earlier_version_lacked_have_their_defaults(run):
    folder = made_by_another_version(run, lambda config: config["training"].pop("patience"))
    assert Run.open(folder).config == run.config


def test_folder_of_an_earlier_version_is_read_as_it_was(run):
    """Before there was --include, only files with one of these suffixes were read."""
    folder = made_by_another_version(run, lambda config: config["corpus"].pop("include"))
    include = Run.open(folder).config.corpus.include
    assert {"*.txt", "*.md", "*.py"} <= {*include}
    assert "*.html" not in include


def test_run_of_this_version_must_have_all_settings(run):
    def change(about):
        del about["config"]["training"]["patience"]
        return about

    edit(run.folder / "run.json", change)
    with pytest.raises(RunError, match="training lacks the key 'patience'"):
        Run.open(run.folder)


def test_unknown_settings_of_a_later_version_are_refused(run):
    folder = made_by_another_version(run, lambda config: config["model"].update(attention=3))
    with pytest.raises(RunError, match=r"unknown key of \[model\]: 'attention'"):
        Run.open(folder)
