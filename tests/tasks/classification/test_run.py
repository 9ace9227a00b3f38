"""The run folder of a classifier: its files, its data, damage, and layers of a language model."""

import json

import pytest
import torch

from charlm.errors import CorpusError, RunError, UsageError
from charlm.runs import Run
from charlm.tasks import CLASSIFICATION, LANGUAGE_MODEL, TAGGING
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.model import Classifier
from charlm.tasks.classification.reviews import load_reviews


@pytest.fixture
def run(new_run) -> Run:
    return new_run()


def edit(path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content)), "utf-8")


def test_written_and_read_again(run, config, corpus):
    opened = Run.open(run.folder, task=CLASSIFICATION)
    chosen = config.with_backend(run.config.model.backend)
    assert (opened.config, opened.vocabulary) == (chosen, corpus.vocabulary)
    assert opened.corpus == corpus.describe()
    assert opened.corpus["split"] == [60, 20, 20]
    assert opened.checkpoint is None
    assert isinstance(opened.new_model(), Classifier)
    assert opened.task is CLASSIFICATION
    assert json.loads((run.folder / "run.json").read_text())["task"] == "classify"
    vocabulary = json.loads((run.folder / "vocabulary.json").read_text("utf-8"))
    assert vocabulary == corpus.vocabulary.to_json()


def test_data_is_read_again(run, corpus, one_line):
    again = run.load_corpus()
    assert again.data.splits == corpus.data.splits
    assert again.vocabulary == corpus.vocabulary
    with open(run.config.corpus.source, "a", encoding="utf-8") as file:
        file.write('\n{"split": "train", "label": "fair", "text": "one more"}')
    with pytest.raises(CorpusError) as caught:
        run.load_corpus()
    message = one_line(caught.value)
    for words in ("sha256", "split 61/20/20, not 60/20/20", "vocabulary of"):
        assert words in message


@pytest.mark.parametrize(
    "change",
    [{"vocabulary_size": 5}, {"punctuation": True}, {"tokens": "characters"}],
    ids=str,
)
def test_other_vocabulary_is_refused(write_texts, texts, new_run, follow, config, change):
    source = {"source": write_texts("marks.jsonl", [(s, label, f"{t}!") for s, label, t in texts])}

    def load(**settings):
        layers = [config.to_dict(), {"corpus": {**source, **settings}}]
        return load_reviews(ClassificationConfig.from_settings(layers).corpus)

    run = new_run(load(), corpus=source)
    with pytest.raises(CorpusError, match=r"vocabulary of .* entries, not the run's"):
        follow(run, load(**change))


def test_settings_that_can_change(run, config, one_line):
    def changed(**sections):
        return ClassificationConfig.from_settings([config.to_dict(), sections])

    run.change(changed(training={"epochs": 9, "lr": 0.1, "patience": 2}))
    assert run.config.training.epochs == 9
    with pytest.raises(UsageError) as caught:
        run.change(
            changed(
                corpus={"length": 5, "cut": "after"},
                model={"features": "last", "from_run": "there"},
                training={"optimiser": "sgd", "seed": 3},
            )
        )
    message = one_line(caught.value)
    for words in (
        "corpus.length is 9 in the run, not 5",
        "corpus.cut is before in the run, not after",
        "model.features is mean-max in the run, not last",
        "model.from_run is None in the run, not ",
        "training.seed is 0 in the run, not 3",
        "training.optimiser is adamw in the run, not sgd",
    ):
        assert words in message
    assert run.config.training.optimiser == "adamw"


@pytest.mark.parametrize("task", [LANGUAGE_MODEL, TAGGING])
def test_other_tasks_refuse_it(run, one_line, task):
    with pytest.raises(RunError) as caught:
        Run.open(run.folder, task=task)
    assert one_line(caught.value) == (
        f"{run.folder} is a run of charlm classify train, not of {task.command} train"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda content: {**content, "labels": ["good", "bad"]},
        lambda content: {**content, "labels": ["bad"]},
        lambda content: {**content, "words": content["words"][::-1]},
        lambda content: {**content, "words": content["words"][1:]},
        lambda content: content["words"],
        lambda content: None,
    ],
    ids=["labels-reversed", "one-label", "words-reversed", "fewer-words", "list", "null"],
)
def test_damaged_vocabulary_is_refused(run, corpus, follow, one_line, change):
    follow(run, corpus, stop_after=0)
    edit(run.folder / "vocabulary.json", change)
    with pytest.raises(RunError) as caught:
        Run.open(run.folder)
    assert str(run.folder) in one_line(caught.value)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        *(("model", key, 1) for key in ("features", "surprise", "from_run", "freeze")),
        *(("model", "features", "first"), ("model", "freeze", "true"), ("model", "ngrams", 99)),
        *(("model", "buckets", 10**12), ("model", "word_dropout", 2)),
        *(("corpus", "length", -1), ("corpus", "length", "400"), ("corpus", "cut", None)),
        *(("corpus", "tokens", "bytes"), ("training", "averaging", 1)),
        ("model", "dense_size", 10**9),
    ],
)
def test_damaged_settings_are_refused(run, one_line, section, key, value):
    def change(content):
        content["config"][section][key] = value
        return content

    edit(run.folder / "run.json", change)
    with pytest.raises(RunError) as caught:
        Run.open(run.folder)
    assert "run.json is damaged" in one_line(caught.value)


# From a language model


def test_checkpoint_of_the_language_model_can_be_named(language_model, from_run):
    source = language_model()
    older = Run.open(min(source.folder.glob("checkpoint-*")))
    run, _ = from_run(source, model={"from_run": str(older.checkpoint.folder)})
    found = run.first_model().get_parameter("embedding.weight")
    assert torch.equal(found, older.load_model().embedding.weight)
    assert not torch.equal(found, source.load_model().embedding.weight)


def test_classifier_is_not_a_language_model(run, new_run):
    other = new_run(model={"from_run": str(run.folder)})
    with pytest.raises(RunError, match="is a run of charlm classify train"):
        other.first_model()
