from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from charlm.config import LanguageModelConfig
from charlm.corpus import Corpus, load_corpus
from charlm.errors import CharlmError
from charlm.runs import Run, load_run_corpus
from charlm.training import train

TEXT = "the time traveller for so it will be convenient to speak of him 分开\n" * 5
SETTINGS = {
    "model": {"cell": "gru", "hidden_size": 4},
    "training": {"epochs": 2, "prefixes": ["the ", "分"]},
}
TRAINED = {
    "corpus": {"max_chars": 4000},
    "model": {"cell": "gru", "hidden_size": 4, "embedding_size": 4},
    "training": {
        "epochs": 2, "batch_size": 8, "seq_len": 20, "prefixes": ["the "], "sample_length": 20,
        "sample_every": 1, "save_steps": 15,
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, so that no run and no corpus of the user's is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    return tmp_path


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def novel(tmp_path) -> Path:
    """A text of one's own."""
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
    return load_run_corpus(config.corpus, None, None)


@pytest.fixture
def run(config, corpus, tmp_path) -> Run:
    """A new one, on the novel."""
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
    """A run that was really trained, on 4,000 characters, with two checkpoints."""
    folder = tmp_path / "trained"
    shutil.copytree(_trained, folder)
    return Run.open(folder)


@pytest.fixture
def one_line() -> Callable[[CharlmError], str]:
    """Gives an error's message, which, as its hint, is a line."""

    def check(error: CharlmError) -> str:
        for line in (error.message, error.hint or "-"):
            assert line
            assert line.isprintable()
        return error.message

    return check
