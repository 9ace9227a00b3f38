from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.config import LanguageModelConfig
from charlm.corpus import Corpus, load_corpus
from charlm.runs import Run
from charlm.training import Event, train

SMALL: dict[str, dict[str, Any]] = {
    "model": {"hidden_size": 16},
    "training": {"epochs": 6, "batch_size": 8, "seq_len": 20, "prefixes": ["The "]},
}


@pytest.fixture
def corpus() -> Corpus:
    return load_corpus("traveller", max_chars=4000)


@pytest.fixture
def train_small(tmp_path: Path, corpus: Corpus) -> Callable[..., tuple[Run, list[Event]]]:
    """Trains a small model and gives the run and all events; settings as sections of keys."""

    def trained(name: str = "run", **sections: dict[str, Any]) -> tuple[Run, list[Event]]:
        config = LanguageModelConfig.from_settings([SMALL, sections])
        run = Run.create(tmp_path / name, config, corpus)
        return run, list(train(run, corpus, device=torch.device("cpu")))

    return trained
