from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from charlm.runs import Run
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.training import train

TEXT = "the time traveller for so it will be convenient to speak of him 分开\n" * 5
SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 4},
    "training": {"epochs": 2, "prefixes": ["the ", "分"]},
}
TRAINED = {
    "corpus": {"max_chars": 4000},
    "model": {"cell": "gru", "backend": "scratch", "hidden_size": 4, "embedding_size": 4},
    "training": {
        "epochs": 2,
        "batch_size": 8,
        "seq_len": 20,
        "prefixes": ["the "],
        "sample_length": 20,
        "sample_every": 1,
        "save_steps": 15,
    },
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(working_folder: Path) -> None: ...


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def novel(tmp_path) -> Path:
    """A text file of the user."""
    path = tmp_path / "novel.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def settings() -> dict:
    return SETTINGS


@pytest.fixture
def config(novel) -> LanguageModelConfig:
    return LanguageModelConfig.from_settings([{"corpus": {"source": str(novel)}}, SETTINGS])


@pytest.fixture
def corpus(config) -> Corpus:
    return LANGUAGE_MODEL.load_corpus(config, None)


@pytest.fixture
def run(config, corpus, tmp_path) -> Run:
    """A new run on the novel, without a checkpoint."""
    return Run.create(tmp_path / "run", config, corpus)


@pytest.fixture(scope="session")
def traveller() -> Corpus:
    return load_corpus("traveller", max_chars=4000)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory, traveller) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    run = Run.create(folder, LanguageModelConfig.from_settings([TRAINED]), traveller)
    for _ in train(run, traveller, device=torch.device("cpu")):
        pass
    return folder


@pytest.fixture
def trained(_trained, tmp_path) -> Run:
    """A run that was trained on 4,000 characters, with two checkpoints."""
    folder = tmp_path / "trained"
    shutil.copytree(_trained, folder)
    return Run.open(folder)
