"""Small trainings of each task."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.runs import Run
from charlm.task import TASKS, Task
from charlm.tasks.classification.objective import LabelOfText
from charlm.tasks.classification.reviews import load_reviews
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.tasks.language_model.objective import NextCharacter, NextCharacterOfLine
from charlm.tasks.tagging.objective import TagOfWord
from charlm.tasks.tagging.slots import load_slots
from charlm.training import Event, train

LANGUAGE_MODEL = {
    "model": {"hidden_size": 8, "embedding_size": 4},
    "training": {
        **{"batch_size": 5, "seq_len": 20, "prefixes": ["The "]},
        **{"sample_length": 5, "sample_every": 1},
    },
}
SETTINGS = {
    "language-model": LANGUAGE_MODEL,
    "lines": LANGUAGE_MODEL,  # a language model that is trained on lines
    "classify": {
        "model": {"hidden_size": 4, "embedding_size": 4, "buckets": 50},
        "training": {"batch_size": 8, "patience": None},
    },
    "tag": {
        "corpus": {"buckets": 30, "min_count": 1},
        "model": {"hidden_size": 6, "embedding_size": 5},
        "training": {"batch_size": 10},
    },
}
OBJECTIVES = {
    **{"language-model": NextCharacter, "lines": NextCharacterOfLine},
    **{"classify": LabelOfText, "tag": TagOfWord},
}
STEPS = {"language-model": 9, "lines": 8, "classify": 4, "tag": 4}


@dataclass
class SmallTask:
    """A task with small data, and a function that makes runs of three epochs."""

    task: Task
    kind: str
    corpus: Any
    folder: Path
    source: dict[str, Any]
    number: itertools.count = field(default_factory=itertools.count)

    @property
    def steps(self) -> int:
        """Steps of an epoch, with consecutive sampling."""
        return STEPS[self.kind]

    @property
    def objective(self) -> type:
        return OBJECTIVES[self.kind]

    def new_run(self, *layers: dict[str, Any]) -> Run:
        common = {"corpus": self.source, "training": {"epochs": 3, "lr": 0.02}}
        config = self.task.config_type.from_settings([common, SETTINGS[self.kind], *layers])
        return Run.create(self.folder / f"run{next(self.number)}", config, self.corpus)


@pytest.fixture
def make_small(tmp_path, write_tagged):
    def make(kind: str) -> SmallTask:
        task = TASKS["language-model" if kind == "lines" else kind]
        config_type = task.config_type
        if kind == "language-model":
            source = {"source": "traveller", "max_chars": 1050, "split": (930, 120, 0)}
            corpus = load_corpus(**source)
        elif kind == "lines":
            source = {"source": "traveller", "max_chars": 500, "split": (0.8, 0.2, 0)}
            source["lines"] = True
            corpus = load_corpus(**source)
        elif kind == "classify":
            rows = [
                {"split": split, "label": label, "text": f"a {label} {'film ' * (number % 5)}"}
                for split, size in (("train", 15), ("valid", 5), ("test", 5))
                for number in range(size)
                for label in ("bad", "good")
            ]
            (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
            source = {"source": str(tmp_path / "texts.jsonl")}
            corpus = load_reviews(config_type.from_settings([{"corpus": source}]).corpus)
        else:
            sentences = ["to boston|O B-to", "to new york|O B-to I-to", "now|O"] * 13
            folder = write_tagged(
                tmp_path / "sentences",
                train=sentences[:37],
                valid=sentences[:9],
                test=sentences[:5],
            )
            source = {"source": str(folder)}
            layers = [{"corpus": source}, SETTINGS[kind]]
            corpus = load_slots(config_type.from_settings(layers).corpus)
        return SmallTask(task, kind, corpus, tmp_path, source)

    return make


@pytest.fixture(params=list(TASKS))
def small(request, make_small) -> SmallTask:
    """Each task in turn."""
    return make_small(request.param)


@pytest.fixture
def corpus() -> Corpus:
    return load_corpus("traveller", max_chars=4000)


@pytest.fixture
def train_small(tmp_path: Path, corpus: Corpus) -> Callable[..., tuple[Run, list[Event]]]:
    """Trains a small language model and returns the run and all events."""
    settings = {
        "model": {"hidden_size": 16},
        "training": {"epochs": 6, "batch_size": 8, "seq_len": 20, "prefixes": ["The "]},
    }

    def trained(name: str = "run", **sections: dict[str, Any]) -> tuple[Run, list[Event]]:
        config = LanguageModelConfig.from_settings([settings, sections])
        run = Run.create(tmp_path / name, config, corpus)
        return run, list(train(run, corpus, device=torch.device("cpu")))

    return trained
