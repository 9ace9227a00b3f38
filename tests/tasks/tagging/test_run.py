"""The run folder of a tagger: its files, damage, settings that can change, and its data."""

import dataclasses
import json

import pytest

from charlm.corpus.words import WordVocabulary
from charlm.errors import CorpusError, RunError, UsageError
from charlm.runs import Run
from charlm.runs.checkpoint import FILES, RUN_FILES, record, write_checkpoint
from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL, TAGGING
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.model import Tagger
from charlm.tasks.tagging.slots import TaggerVocabulary

ROWS = ["to Boston|O B-to", "from new york|O B-from I-from"]


@pytest.fixture
def corpus(tmp_path, write_tagged, load):
    return load(write_tagged(tmp_path / "data", train=ROWS * 3, valid=ROWS, test=ROWS))


@pytest.fixture
def tagger(new_run, corpus, follow):
    """A run with a checkpoint."""
    run = new_run(training={"batch_size": 2})
    follow(run, corpus, stop_after=2)
    return Run.open(run.folder)


def edit(path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content) or content), "utf-8")


def open_error(run, one_line, task=None) -> str:
    with pytest.raises(RunError) as caught:
        Run.open(run.folder, task=task)
    return one_line(caught.value)


def test_files(tagger, corpus):
    about = json.loads((tagger.folder / "run.json").read_text("utf-8"))
    assert about["task"] == "tag"
    assert about["config"]["corpus"]["ngrams"] == [2, 3, 4]
    assert about["corpus"] == corpus.describe()
    assert json.loads((tagger.folder / "vocabulary.json").read_text("utf-8")) == {
        "words": ["to", "boston", "from", "new", "york"],
        "tags": ["O", "B-from", "B-to", "I-from"],
    }


def test_opened_run_equals_the_written_run(tagger, corpus):
    opened = Run.open(tagger.checkpoint.folder, task=TAGGING)
    assert opened == tagger
    assert opened.vocabulary == corpus.vocabulary
    assert opened.config.corpus.ngrams == (2, 3, 4)
    model = opened.load_model()
    assert isinstance(model, Tagger)
    assert model.num_parameters() == opened.training["parameters"]


@pytest.mark.parametrize("task", [LANGUAGE_MODEL, CLASSIFICATION])
def test_other_tasks_refuse_it(tagger, one_line, task):
    expected = f"{tagger.folder} is a run of charlm tag train, not of {task.command} train"
    assert open_error(tagger, one_line, task) == expected


def test_vocabulary_that_is_too_large_is_not_written(tmp_path, tagger, corpus):
    """A vocabulary above 16 MiB could not be read again after the training."""
    words = WordVocabulary(tuple(f"{index:01000}" for index in range(17_000)))
    vocabulary = TaggerVocabulary(words, corpus.vocabulary.tags)
    huge = dataclasses.replace(corpus, vocabulary=vocabulary)
    with pytest.raises(CorpusError, match=r"vocabulary of .+ bytes, more than") as caught:
        Run.create(tmp_path / "huge", tagger.config, huge)
    assert "so that the vocabulary gets smaller" in caught.value.hint
    assert not (tmp_path / "huge").exists()


@pytest.mark.parametrize(
    "content",
    [
        *(None, [], ["to"], {}, {"words": ["to"]}),
        {"words": ["to"], "tags": ["O", "x"]},
        {"words": ["to", "to"], "tags": ["O"]},
        {"words": ["to"], "tags": []},
    ],
)
def test_damaged_vocabulary_is_refused(tagger, one_line, content):
    (tagger.folder / "vocabulary.json").write_text(json.dumps(content), "utf-8")
    message = open_error(tagger, one_line)
    assert message.startswith(f"{tagger.folder / 'vocabulary.json'} is damaged: ")


def test_changed_vocabulary_is_refused(tagger, one_line):
    edit(tagger.folder / "vocabulary.json", lambda content: content["tags"].reverse())
    assert "is damaged: its SHA-256 is not the one in" in open_error(tagger, one_line)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        *(("corpus", "ngrams", value) for value in ([0], "2,3", [2.0], [1] * 11, None)),
        *(("corpus", "buckets", value) for value in (0, 10**7)),
        *(("corpus", "shapes", 1), ("corpus", "min_count", "1"), ("corpus", "valid", 1.0)),
        *(("corpus", "labels", 3), ("model", "window", -1), ("model", "window", 10**6)),
        *(("model", "word_dropout", 1.0), ("model", "cell", "tnn"), ("model", "cell", "jordan")),
        *(("model", "embedding", "tied"), ("model", "bidirectional", "true")),
        *(("model", "hidden_size", 10**9), ("training", "seq_len", 3)),
    ],
)
def test_damaged_settings_are_refused(tagger, one_line, section, key, value):
    edit(tagger.folder / "run.json", lambda about: about["config"][section].update({key: value}))
    message = open_error(tagger, one_line)
    assert message.startswith(f"{tagger.folder / 'run.json'} is damaged: ")
    assert key in message or key == "cell"


@pytest.mark.parametrize("task", ["classify", "language-model", "tagging", None, 3, ["tag"]])
def test_damaged_task_is_refused(tagger, one_line, task):
    edit(tagger.folder / "run.json", lambda about: about.update(task=task))
    message = open_error(tagger, one_line)
    assert message.startswith(f"{tagger.folder / 'run.json'} is damaged: ")


def test_network_larger_than_the_memory_is_refused(tagger, one_line):
    """With a manifest that fits. Names and shapes of the weights are compared before the weights
    of the model, about a thousand GiB here, are allocated."""

    def change(about):
        about["config"]["corpus"]["buckets"] = about["config"]["model"]["embedding_size"] = 10**6

    edit(tagger.folder / "run.json", change)
    about = {name: record((tagger.folder / name).read_bytes()) for name in RUN_FILES}
    files = {name: (tagger.checkpoint.folder / name).read_bytes() for name in FILES}
    made = write_checkpoint(tagger.folder, files, about, None)
    path = made.folder / "last.safetensors"
    expected = f"{path} does not belong to this run's model: embedding.weight is (7, 5)"
    assert open_error(tagger, one_line).startswith(expected)
    with pytest.raises(RunError, match="does not belong to this run's model"):
        Run.open(tagger.folder, weights=False).load_model()


RESUMABLE = (
    *("epochs", "minutes", "patience", "lr", "clip_norm", "device", "deterministic"),
    *("save_minutes", "save_steps"),
)


def test_settings_that_can_change(tagger, one_line):
    assert TaggingConfig.resumable() == {
        ("corpus", "source"),
        *(("training", key) for key in RESUMABLE),
    }
    old = tagger.config
    sections = {"corpus": {"ngrams": (3,)}, "model": {"window": 2}, "training": {"epochs": 9}}
    with pytest.raises(UsageError) as caught:
        tagger.change(TaggingConfig.from_settings([old.to_dict(), sections]))
    assert one_line(caught.value).endswith(
        "corpus.ngrams is (2, 3, 4) in the run, not (3,); model.window is 0 in the run, not 2"
    )
    assert tagger.config == old


def test_data_is_read_again(tagger, corpus):
    again = tagger.load_corpus()
    assert again.vocabulary == corpus.vocabulary
    assert again.data.splits == corpus.data.splits


@pytest.mark.parametrize(
    ("rows", "difference"),
    [
        (["to Boston|O B-to", "from new jersey|O B-from I-from"], "sha256"),
        (["to Boston|O B-to", "from new york|O B-from B-from"], "sha256"),
        (["to Boston|O B-to"], "split 3/1/1, not 6/2/2"),
        (["to|O", "from new york|O B-from I-from"], "vocabulary of"),
    ],
)
def test_changed_data_is_refused(tagger, one_line, tmp_path, write_tagged, rows, difference):
    folder = write_tagged(tmp_path / "other", train=rows * 3, valid=rows, test=rows)
    source = dataclasses.replace(tagger.config.corpus, source=str(folder))
    tagger.config = dataclasses.replace(tagger.config, corpus=source)
    with pytest.raises(CorpusError) as caught:
        tagger.load_corpus()
    message = one_line(caught.value)
    assert message.startswith(f"{folder} is not the data that {tagger.folder}")
    assert difference in message
    assert caught.value.hint == "name the right data with --data"


def test_missing_data_is_an_error(tagger, tmp_path, one_line):
    source = dataclasses.replace(tagger.config.corpus, source=str(tmp_path / "gone"))
    tagger.config = dataclasses.replace(tagger.config, corpus=source)
    with pytest.raises(CorpusError, match="no such file or folder") as caught:
        tagger.load_corpus()
    one_line(caught.value)
