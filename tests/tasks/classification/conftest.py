"""Labelled texts in which one word tells the label, and runs of classifiers on them."""

import itertools
import json
import random

import pytest
import torch

from charlm.runs import Run
from charlm.tasks.classification.config import ClassificationConfig
from charlm.tasks.classification.reviews import load_reviews
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.training import train

OTHER_WORDS = ("it", "was", "the", "film", "that", "we", "saw")
TAKEN = ("cell", "hidden_size", "num_layers", "ngram_order", "ngram_rows")
SETTINGS = {
    "model": {"hidden_size": 4, "embedding_size": 4, "buckets": 50},
    "training": {"epochs": 3, "batch_size": 8, "lr": 0.02, "patience": None},
}


@pytest.fixture
def write_texts(tmp_path):
    """A function that writes (split, label, text) rows as a table and returns its path."""

    def write(name, rows):
        path = tmp_path / name
        lines = (json.dumps({"text": t, "label": label, "split": s}) for s, label, t in rows)
        path.write_text("\n".join(lines), "utf-8")
        return str(path)

    return write


@pytest.fixture
def texts():
    """(split, label, text) rows: 60, 20 and 20 texts of two labels."""
    draw = random.Random(0)
    rows = []
    for split, size in (("train", 60), ("valid", 20), ("test", 20)):
        for number in range(size):
            label = ("bad", "good")[number % 2]
            words = draw.choices(OTHER_WORDS, k=draw.randrange(9))
            words.insert(draw.randrange(len(words) + 1), draw.choice([label, f"{label}ly"]))
            rows.append((split, label, " ".join(words)))
    return rows


@pytest.fixture
def config(write_texts, texts) -> ClassificationConfig:
    source = write_texts("texts.jsonl", texts)
    return ClassificationConfig.from_settings(
        [{"corpus": {"source": source, "length": 9}}, SETTINGS]
    )


@pytest.fixture
def corpus(config):
    return load_reviews(config.corpus)


@pytest.fixture
def new_run(tmp_path, config, corpus):
    """A function that makes a run; it takes sections of settings."""
    number = itertools.count()

    def make(data=corpus, **sections):
        settings = ClassificationConfig.from_settings([config.to_dict(), sections])
        return Run.create(tmp_path / f"run{next(number)}", settings, data)

    return make


@pytest.fixture
def language_model(tmp_path):
    """A function that trains a small language model and returns its run."""

    def make(**model):
        corpus = load_corpus("traveller", max_chars=1050)
        settings = {"cell": "gru", "hidden_size": 4, "embedding_size": 3, "weight_dropout": 0.0}
        training = {"epochs": 1, "batch_size": 5, "seq_len": 20, "sample_length": 1, "lr": 0.05}
        config = LanguageModelConfig.from_settings(
            [{"model": {**settings, **model}, "training": {**training, "save_steps": 4}}]
        )
        run = Run.create(tmp_path / "lm", config, corpus)
        assert list(train(run, corpus, device=torch.device("cpu")))
        return Run.open(run.folder)

    return make


@pytest.fixture
def from_run(tmp_path, config):
    """A function that makes a classifier's run from a language model's; returns it and its data."""

    def make(source, **sections):
        network = source.config.model
        model = {
            **{key: getattr(network, key) for key in TAKEN},
            **{"embedding_size": 3, "bidirectional": False, "ngrams": 1},
            "from_run": str(source.folder),
            **sections.pop("model", {}),
        }
        layer = {"corpus": {"tokens": "characters"}, "model": model, **sections}
        settings = ClassificationConfig.from_settings([config.to_dict(), layer])
        corpus = load_reviews(settings.corpus, tokens=source.vocabulary)
        return Run.create(tmp_path / "from", settings, corpus), corpus

    return make
