"""A run of a classifier: made, opened again, damaged, taken for another, begun from another."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from charlm.config import ClassificationConfig
from charlm.corpus.labelled_texts import LabelledText
from charlm.corpus.reviews import load_reviews
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.classifier import Classifier
from charlm.runs import ClassifierRun, Run, TaggerRun, TaskRun, newest_run, run_folders
from charlm.training import train

ROWS = [
    (split, label, f"a {label} film {'indeed ' * number}")
    for split, size in (("train", 8), ("valid", 3), ("test", 2))
    for number in range(size)
    for label in ("bad", "good")
]
SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 3, "buckets": 20},
    "training": {"epochs": 2, "batch_size": 4},
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "texts.jsonl"
    lines = (json.dumps({"split": s, "label": label, "text": t}) for s, label, t in ROWS)
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


@pytest.fixture
def config(source) -> ClassificationConfig:
    return ClassificationConfig.from_settings([{"corpus": {"source": source}}, SETTINGS])


@pytest.fixture
def reviews(config):
    return load_reviews(config.corpus)


@pytest.fixture
def run(config, reviews, tmp_path) -> ClassifierRun:
    """A new one."""
    return ClassifierRun.create(tmp_path / "run", config, reviews)


@pytest.fixture
def trained_classifier(run, reviews) -> ClassifierRun:
    for _ in train(run, reviews, device=torch.device("cpu")):
        pass
    return ClassifierRun.open(run.folder)


def edit(path, change) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(content)), "utf-8")


def test_what_is_written_and_read_again(run, config, reviews):
    again = ClassifierRun.open(run.folder)
    assert (again.config, again.vocabulary) == (config, reviews.vocabulary)
    assert again.corpus == {
        "name": "texts", "source": config.corpus.source, "sha256": reviews.data.sha256,
        "split": [16, 6, 4],
    }  # fmt: skip
    assert again.checkpoint is None
    assert isinstance(again.new_model(), Classifier)
    assert again.task == json.loads((run.folder / "run.json").read_text())["task"] == "classify"
    vocabulary = json.loads((run.folder / "vocabulary.json").read_text("utf-8"))
    assert vocabulary == reviews.vocabulary.to_json()
    assert type(TaskRun.open(run.folder)) is ClassifierRun


def test_its_data_is_read_again(trained_classifier, reviews, one_line):
    corpus = trained_classifier.load_corpus()
    assert corpus.data.splits == reviews.data.splits
    assert corpus.vocabulary == reviews.vocabulary
    with open(trained_classifier.config.corpus.source, "a", encoding="utf-8") as file:
        file.write('\n{"split": "train", "label": "fair", "text": "one more"}')
    with pytest.raises(CorpusError) as caught:
        trained_classifier.load_corpus()
    message = one_line(caught.value)
    for words in ("sha256", "split 17/6/4, not 16/6/4", "vocabulary of"):
        assert words in message


def test_the_best_and_the_last_weights(trained_classifier):
    for name in ("best", "last"):
        model = trained_classifier.load_model(name)
        assert not model.training
        for key, tensor in trained_classifier.read_weights(name).items():
            assert torch.equal(model.get_parameter(key), tensor)


def test_what_may_change_and_what_may_not(trained_classifier, one_line):
    old = trained_classifier.config.to_dict()

    def changed(**sections):
        return ClassificationConfig.from_settings([old, sections])

    trained_classifier.change(changed(training={"epochs": 9, "lr": 0.1, "patience": None}))
    assert trained_classifier.config.training.epochs == 9
    with pytest.raises(UsageError) as caught:
        trained_classifier.change(
            changed(
                corpus={"length": 5, "cut": "after"},
                model={"features": "last", "tune": False, "from_run": "there"},
                training={"optimiser": "sgd", "seed": 3},
            )
        )
    message = one_line(caught.value)
    for words in (
        "corpus.length is 400 in the run, not 5", "corpus.cut is before in the run, not after",
        "model.features is mean-max in the run, not last", "model.tune is True in the run",
        "model.from_run is None in the run, not there", "training.seed is 0 in the run, not 3",
        "training.optimiser is adamw in the run, not sgd",
    ):  # fmt: skip
        assert words in message
    assert trained_classifier.config.training.optimiser == "adamw"


# Taken for another


def test_another_kind_of_run_is_refused(run, trained, one_line):
    with pytest.raises(RunError) as caught:
        ClassifierRun.open(trained.folder)
    assert one_line(caught.value) == (
        f"{trained.folder} is a run of charlm train, not of charlm classify train"
    )
    for kind, name in ((Run, "charlm"), (TaggerRun, "charlm tag")):
        with pytest.raises(RunError) as caught:
            kind.open(run.folder)
        assert one_line(caught.value) == (
            f"{run.folder} is a run of charlm classify train, not of {name} train"
        )
        assert caught.value.hint == "see charlm classify --help"


def test_the_newest_of_each_kind(trained_classifier, trained, working_folder):
    for name, run in (("a", trained), ("b", trained_classifier), ("c", trained)):
        shutil.copytree(run.folder, working_folder / "checkpoints" / name)
    assert [folder.name for folder in run_folders("classify")] == ["b"]
    assert newest_run("classify", "charlm classify").name == "b"
    assert newest_run().name in ("a", "c")
    with pytest.raises(RunError) as caught:
        newest_run("tag", "charlm tag")
    assert caught.value.hint == "train one: charlm tag train"


def test_without_a_checkpoint_the_hint_is_its_own_command(run):
    with pytest.raises(RunError) as caught:
        run.load_model()
    assert caught.value.hint == "charlm classify train --resume goes on with it"


# Damage


@pytest.mark.parametrize("name", [
    "last.safetensors", "best.safetensors", "training.safetensors", "training.json",
    "metrics.jsonl", "manifest.json",
])  # fmt: skip
def test_a_damaged_checkpoint_goes_back_to_the_one_before(trained_classifier, name):
    newest, wanted = trained_classifier.checkpoint.folder, trained_classifier.read_weights("last")
    (newest / name).write_bytes((newest / name).read_bytes()[:-3])
    again = ClassifierRun.open(trained_classifier.folder)
    assert again.checkpoint.folder < newest
    (notice,) = again.notices
    assert "going back to" in notice
    assert again.training["position"]["step"] < trained_classifier.training["position"]["step"]
    assert list(train(again, again.load_corpus(), device=torch.device("cpu")))[-1].epochs == 2
    found = ClassifierRun.open(again.folder).read_weights("last")
    assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items())


@pytest.mark.parametrize("change", [
    lambda content: {**content, "labels": ["good", "bad"]},
    lambda content: {**content, "labels": ["bad"]},
    lambda content: {**content, "words": content["words"][::-1]},
    lambda content: {**content, "words": content["words"][1:]},
    lambda content: content["words"],
    lambda content: None,
], ids=["labels-turned", "one-label", "turned", "fewer", "list", "null"])  # fmt: skip
def test_a_damaged_vocabulary_is_refused(trained_classifier, one_line, change):
    edit(trained_classifier.folder / "vocabulary.json", change)
    with pytest.raises(RunError) as caught:
        ClassifierRun.open(trained_classifier.folder)
    assert str(trained_classifier.folder) in one_line(caught.value)


@pytest.mark.parametrize(("section", "key", "value"), [
    ("model", "features", "first"), ("model", "tune", False), ("model", "tune", "true"),
    ("model", "ngrams", 99), ("model", "buckets", 10**12), ("model", "from_run", 3),
    ("model", "word_dropout", 2), ("corpus", "length", -1), ("corpus", "length", "400"),
    ("corpus", "cut", None), ("corpus", "tokens", "bytes"), ("training", "averaging", 1),
    ("model", "dense_size", 10**9), ("model", "surprise", 1),
])  # fmt: skip
def test_damaged_settings_are_refused(trained_classifier, one_line, section, key, value):
    def change(content):
        content["config"][section][key] = value
        return content

    edit(trained_classifier.folder / "run.json", change)
    with pytest.raises(RunError) as caught:
        ClassifierRun.open(trained_classifier.folder)
    assert "run.json is damaged" in one_line(caught.value)


# Begun from a language model


def from_config(trained: Run, config: ClassificationConfig, **model) -> ClassificationConfig:
    network = {"cell": "gru", "hidden_size": 4, "embedding_size": 4, "bidirectional": False}
    own = {**network, "ngrams": 1, "from_run": str(trained.folder), **model}
    layers = [config.to_dict(), {"corpus": {"tokens": "characters"}, "model": own}]
    return ClassificationConfig.from_settings(layers)


@pytest.mark.parametrize("tune", [True, False])
def test_a_model_that_begins_with_another_ones_layers(trained, config, tmp_path, tune):
    settings = from_config(trained, config, tune=tune)
    corpus = load_reviews(settings.corpus, tokens=trained.vocabulary)
    run = ClassifierRun.create(tmp_path / "from", settings, corpus)
    source, model = trained.load_model(), run.first_model()
    ids = torch.from_numpy(trained.vocabulary.encode("the time")).unsqueeze(1)
    wanted = source.stack(source.embed(ids), source.initial_state(1))[0]
    found = model.eval().stack(model.embed(ids), model.initial_state(1))[0]
    assert torch.equal(found, wanted)
    assert {each.requires_grad for each in model.stack.parameters()} == {tune}
    # The vocabulary is the run's own from now on.
    shutil.rmtree(trained.folder)
    assert ClassifierRun.open(run.folder).load_corpus().vocabulary.tokens == trained.vocabulary
    with pytest.raises(RunError, match="is not a run folder"):
        run.first_model()


def test_the_checkpoint_that_is_named_is_taken(trained, config, tmp_path):
    older = sorted(trained.folder.glob("checkpoint-*"))[0]
    settings = from_config(trained, config, from_run=str(older))
    corpus = load_reviews(settings.corpus, tokens=trained.vocabulary)
    run = ClassifierRun.create(tmp_path / "from", settings, corpus)
    found = run.first_model().get_parameter("embedding.weight")
    assert torch.equal(found, Run.open(older).load_model().embedding.weight)
    assert not torch.equal(found, trained.load_model().embedding.weight)


def test_a_classifier_is_no_language_model(run, config, tmp_path, trained, reviews):
    settings = from_config(trained, config, from_run=str(run.folder))
    other = ClassifierRun.create(tmp_path / "from", settings, reviews)
    with pytest.raises(RunError, match="is a run of charlm classify train"):
        other.first_model()


def test_labels_of_the_texts_are_places_in_the_vocabulary(reviews):
    first = reviews.data.splits["train"][0]
    assert isinstance(first, LabelledText)
    assert reviews.vocabulary.labels[first.label] in first.text
