"""A tagger's run: made, opened again, damaged, of another task, and its data read again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from charlm.config import TaggingConfig
from charlm.corpus.slots import TaggerVocabulary, load_slots
from charlm.corpus.words import WordVocabulary
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.tagger import Tagger
from charlm.runs import ClassifierRun, Run, TaggerRun, newest_run
from charlm.runs.checkpoint import FILES, RUN_FILES, record, write_checkpoint
from charlm.runs.run import TaskRun
from charlm.training import train

SETTINGS = {
    "corpus": {"buckets": 20, "min_count": 1},
    "model": {"hidden_size": 4, "embedding_size": 3, "cell": "gru", "window": 1},
    "training": {"epochs": 2, "batch_size": 2, "save_steps": 1},
}


def write(folder: Path, train="to Boston|O B-to\nfrom new york|O B-from I-from\n") -> Path:
    for split in ("train", "valid", "test"):
        rows = [row.split("|") for row in train.splitlines()] * (3 if split == "train" else 1)
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name, side in (("seq.in", 0), ("seq.out", 1)):
            text = "".join(row[side] + "\n" for row in rows)
            (folder / split / name).write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def _tagger_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    source = {"corpus": {"source": str(write(folder / "data"))}}
    config = TaggingConfig.from_settings([SETTINGS, source])
    corpus = load_slots(config.corpus)
    run = TaggerRun.create(folder / "run", config, corpus)
    for _ in train(run, corpus, device=torch.device("cpu")):
        pass
    return folder


@pytest.fixture
def tagger(_tagger_run, tmp_path):
    """A run that was really trained, with two checkpoints; its data is in the folder ``data``."""
    shutil.copytree(_tagger_run, tmp_path / "tagger")
    return TaggerRun.open(tmp_path / "tagger" / "run")


@pytest.fixture
def slots(_tagger_run):
    return load_slots(TaggingConfig.from_settings(
        [SETTINGS, {"corpus": {"source": str(_tagger_run / "data")}}]).corpus)  # fmt: skip


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content) or content), "utf-8")


def open_error(folder, one_line, kind=TaggerRun) -> str:
    with pytest.raises(RunError) as caught:
        kind.open(folder)
    return one_line(caught.value)


# Made and opened


def test_the_folder_and_its_files(tagger, slots):
    names = {path.name for path in tagger.folder.iterdir()}
    assert {"run.json", "vocabulary.json"} < names
    about = json.loads((tagger.folder / "run.json").read_text("utf-8"))
    assert about["task"] == "tag"
    assert about["config"]["corpus"]["ngrams"] == [2, 3, 4]
    assert about["corpus"] == slots.describe()
    vocabulary = json.loads((tagger.folder / "vocabulary.json").read_text("utf-8"))
    assert vocabulary == {
        "words": ["to", "boston", "from", "new", "york"],
        "tags": ["O", "B-from", "B-to", "I-from"],
    }


def test_it_is_opened_as_it_was_made(tagger, slots):
    for kind in (TaggerRun, TaskRun):
        opened = kind.open(tagger.folder)
        assert type(opened) is TaggerRun
        assert opened == tagger
    assert opened.vocabulary == slots.vocabulary
    assert opened.config.corpus.ngrams == (2, 3, 4)
    assert opened.notices == ()
    named = TaggerRun.open(tagger.checkpoint.folder)
    assert named.checkpoint.folder == tagger.checkpoint.folder


def test_its_model_is_in_evaluation_mode(tagger):
    for weights in ("best", "last"):
        model = tagger.load_model(weights)
        assert isinstance(model, Tagger)
        assert not model.training
        assert model.num_parameters() == tagger.training["parameters"]


def test_without_a_checkpoint_it_says_how_to_go_on(tmp_path, slots, tagger, one_line):
    run = TaggerRun.create(tmp_path / "new", tagger.config, slots)
    with pytest.raises(RunError) as caught:
        TaggerRun.open(run.folder).load_model()
    assert one_line(caught.value) == f"{run.folder} has no checkpoint yet"
    assert caught.value.hint == "charlm tag train --resume goes on with it"


@pytest.mark.parametrize(
    ("kind", "command"), [(Run, "charlm train"), (ClassifierRun, "charlm classify train")]
)
def test_other_tasks_refuse_it(tagger, one_line, kind, command):
    with pytest.raises(RunError) as caught:
        kind.open(tagger.folder)
    expected = f"{tagger.folder} is a run of charlm tag train, not of {command}"
    assert one_line(caught.value) == expected
    assert caught.value.hint == "see charlm tag --help"


def test_it_refuses_those_of_other_tasks(run, one_line):
    expected = f"{run.folder} is a run of charlm train, not of charlm tag train"
    assert open_error(run.folder, one_line) == expected


def test_a_vocabulary_that_could_not_be_read_again_is_not_written(tmp_path, tagger, slots):
    """Words that take more than 16 MiB; to find out after the training would be too late."""
    words = WordVocabulary(tuple(f"{index:01000}" for index in range(17_000)))
    vocabulary = TaggerVocabulary(words, slots.vocabulary.tags)
    huge = dataclasses.replace(slots, vocabulary=vocabulary)
    with pytest.raises(CorpusError, match=r"vocabulary of .+ bytes, more than") as caught:
        TaggerRun.create(tmp_path / "huge", tagger.config, huge)
    assert "min_count" in caught.value.hint
    assert not (tmp_path / "huge").exists()


# Damaged


@pytest.mark.parametrize(
    "content",
    [None, [], ["to"], {}, {"words": ["to"]}, {"words": ["to"], "tags": ["O", "x"]},
     {"words": ["to", "to"], "tags": ["O"]}, {"words": ["to"], "tags": []}],
)  # fmt: skip
def test_a_damaged_vocabulary(tagger, one_line, content):
    (tagger.folder / "vocabulary.json").write_text(json.dumps(content), "utf-8")
    message = open_error(tagger.folder, one_line)
    assert message.startswith(
        f"{tagger.folder / 'vocabulary.json'} is damaged: it is not"
    ) or message.startswith(f"{tagger.folder / 'vocabulary.json'} is damaged: the vocabulary")


def test_a_vocabulary_that_was_changed_and_is_one_all_the_same(tagger, one_line):
    edit(tagger.folder / "vocabulary.json", lambda content: content["tags"].reverse())
    assert "is damaged: its SHA-256 is not the one in" in open_error(tagger.folder, one_line)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("corpus", "buckets", 0), ("corpus", "buckets", 10**7), ("corpus", "ngrams", [0]),
        ("corpus", "ngrams", "2,3"), ("corpus", "ngrams", [2.0]), ("corpus", "ngrams", [1] * 11),
        ("corpus", "ngrams", None), ("corpus", "shapes", 1), ("corpus", "min_count", "1"),
        ("corpus", "valid", 1.0), ("corpus", "labels", 3), ("model", "window", -1),
        ("model", "window", 10**6), ("model", "word_dropout", 1.0), ("model", "cell", "tnn"),
        ("model", "cell", "jordan"), ("model", "embedding", "tied"), ("training", "seq_len", 3),
        ("model", "bidirectional", "true"), ("model", "hidden_size", 10**9),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(tagger, one_line, section, key, value):
    edit(tagger.folder / "run.json", lambda about: about["config"][section].update({key: value}))
    message = open_error(tagger.folder, one_line)
    assert message.startswith(f"{tagger.folder / 'run.json'} is damaged: ")
    assert key in message or key == "cell"


@pytest.mark.parametrize("task", ["classify", "language-model", "tagging", None, 3, ["tag"]])
def test_another_task_by_damage(tagger, one_line, task):
    edit(tagger.folder / "run.json", lambda about: about.update(task=task))
    message = open_error(tagger.folder, one_line)
    assert "not of charlm tag train" in message or "its task cannot be" in message
    open_error(tagger.folder, one_line, TaskRun)


def test_a_network_that_needs_more_memory_than_there_is(tagger, one_line):
    """Made with care: its manifest vouches for it. Its weights are compared by name and shape
    before there is any room for them, a thousand GiB here."""

    def change(about):
        about["config"]["corpus"]["buckets"] = about["config"]["model"]["embedding_size"] = 10**6

    edit(tagger.folder / "run.json", change)
    about = {name: record((tagger.folder / name).read_bytes()) for name in RUN_FILES}
    files = {name: (tagger.checkpoint.folder / name).read_bytes() for name in FILES}
    made = write_checkpoint(tagger.folder, files, about, None)
    message = open_error(tagger.folder, one_line)
    path = made.folder / "last.safetensors"
    assert message.startswith(f"{path} is not of this run's model: embedding.weight is (7, 3)")
    opened = TaggerRun.open(tagger.folder, weights=False)
    with pytest.raises(RunError, match="is not of this run's model"):
        opened.load_model()


@pytest.mark.parametrize(
    "name", ["last.safetensors", "best.safetensors", "training.safetensors", "training.json",
             "metrics.jsonl", "manifest.json"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_damage_of_the_newest_checkpoint_goes_back_to_the_one_before(tagger, name, how):
    newest, before = sorted(tagger.folder.glob("checkpoint-*"), reverse=True)
    path = newest / name
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    opened = TaggerRun.open(tagger.folder)
    assert opened.checkpoint.folder == before
    step = tagger.training["position"]["step"]
    assert opened.training["position"]["step"] <= step
    assert opened.load_model().eval()
    if (name, how) != ("manifest.json", "gone"):  # without one it was never whole
        assert opened.notices[0].endswith(f"; going back to {before.name}")


def test_every_truncation_is_an_error_of_one_line(tagger, one_line):
    for name in ("run.json", "vocabulary.json"):
        path = tagger.folder / name
        data = path.read_bytes()
        for size in range(0, len(data), 53):
            path.write_bytes(data[:size])
            open_error(tagger.folder, one_line)
        path.write_bytes(data)
    assert TaggerRun.open(tagger.folder) == tagger


# Going on with other settings

OTHERS = {
    "corpus": {
        "source": "elsewhere", "encoding": "gb18030", "valid": 0.3, "min_count": 3,
        "ngrams": (3,), "shapes": True, "buckets": 21,
    },
    "model": {
        "cell": "lstm", "backend": "scratch", "hidden_size": 5, "num_layers": 2,
        "bidirectional": False, "embedding_size": 5, "window": 2, "initialisation": "book",
        "input_dropout": 0.11, "dropout": 0.12, "output_dropout": 0.13, "weight_dropout": 0.14,
        "word_dropout": 0.15,
    },
    "training": {
        "batch_size": 9, "epochs": 3, "minutes": 2.5, "optimiser": "sgd", "lr": 0.5, "beta2": 0.5,
        "weight_decay": 0.5, "schedule": "constant", "warmup": 0.5, "clip_norm": 0.5,
        "averaging": 0.5, "patience": 3, "seed": 1, "device": "cpu", "deterministic": True,
        "precision": "bfloat16", "save_minutes": 3.0, "save_steps": 5,
    },
}  # fmt: skip
FREE = {
    ("corpus", "source"),
    *(("training", key) for key in (
        "epochs", "minutes", "patience", "lr", "clip_norm", "device", "deterministic",
        "save_minutes", "save_steps",
    )),
}  # fmt: skip
NAMES = [(section, key) for section, values in OTHERS.items() for key in values]


def test_every_setting_is_tried():
    known = [
        (name, field.name)
        for name, section in TaggingConfig.sections().items()
        for field in dataclasses.fields(section)
    ]
    assert sorted(NAMES) == sorted(known)


@pytest.mark.parametrize(("section", "key"), NAMES)
def test_a_setting_can_change_or_is_named_and_refused(tagger, one_line, section, key):
    old, value = tagger.config, OTHERS[section][key]
    before = getattr(getattr(old, section), key)
    assert before != value
    new = dataclasses.replace(
        old, **{section: dataclasses.replace(getattr(old, section), **{key: value})}
    )
    if (section, key) in FREE:
        tagger.change(new)
        assert tagger.config == new
        return
    with pytest.raises(UsageError) as caught:
        tagger.change(new)
    assert one_line(caught.value) == (
        f"{tagger.folder} cannot go on with other settings: "
        f"{section}.{key} is {before} in the run, not {value}"
    )
    assert "without --resume" in caught.value.hint
    assert tagger.config == old


# The data


def test_the_data_is_read_again_as_it_was(tagger, slots):
    again = tagger.load_corpus()
    assert again.vocabulary == slots.vocabulary
    assert again.data.splits == slots.data.splits


def test_data_that_has_changed_is_refused(tagger, one_line, tmp_path):
    """One word, one tag, one sentence; each difference is named."""
    texts = {
        "sha256": "to Boston|O B-to\nfrom new jersey|O B-from I-from\n",
        "sha256 ": "to Boston|O B-to\nfrom new york|O B-from B-from\n",
        "split 3/1/1, not 6/2/2": "to Boston|O B-to\n",
        "vocabulary of": "to|O\nfrom new york|O B-from I-from\n",
    }
    config = tagger.config
    for number, (words, text) in enumerate(texts.items()):
        folder = write(tmp_path / f"other{number}", text)
        corpus = dataclasses.replace(config.corpus, source=str(folder))
        tagger.config = dataclasses.replace(config, corpus=corpus)
        with pytest.raises(CorpusError) as caught:
            tagger.load_corpus()
        assert words in one_line(caught.value)
        assert caught.value.message.startswith(f"{folder} is not the data that {tagger.folder}")
        assert caught.value.hint == "name the right one: --data"


def test_data_that_is_gone_is_an_error(tagger, tmp_path, one_line):
    source = dataclasses.replace(tagger.config.corpus, source=str(tmp_path / "gone"))
    tagger.config = dataclasses.replace(tagger.config, corpus=source)
    with pytest.raises(CorpusError, match="no corpus, file or folder is called") as caught:
        tagger.load_corpus()
    one_line(caught.value)


def test_the_newest_run_is_one_of_the_task(tagger, run, slots):
    with pytest.raises(RunError) as caught:
        newest_run("tag", "charlm tag")
    assert caught.value.hint == "train one: charlm tag train"
    shutil.copytree(tagger.folder, Path("checkpoints") / "mine")
    assert newest_run("tag", "charlm tag") == Path("checkpoints") / "mine"
    with pytest.raises(RunError):
        newest_run()
