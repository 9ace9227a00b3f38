"""No test of this folder reads the user's own folders or the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REAL = os.environ.get("CHARLM_CORPORA")
_REAL_FOLDER = Path(_REAL).resolve() if _REAL else None


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """An empty working folder, an empty cache and no ``$CHARLM_CORPORA``; yields the cache."""
    base = tmp_path_factory.mktemp("surroundings")
    (base / "work").mkdir()
    monkeypatch.chdir(base / "work")
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # By object: "charlm.corpus.fetch" as a string finds the function of that name.
    from charlm.corpus.fetch import corpora_folders

    monkeypatch.setitem(corpora_folders.__globals__, "_user_cache", lambda: base / "cache")
    return base / "cache"


@pytest.fixture
def user_cache(clean_surroundings: Path) -> Path:
    return clean_surroundings


@pytest.fixture
def real_corpora() -> Path:
    """The folder of the real corpora, for tests that mean nothing without them."""
    if _REAL_FOLDER is None or not (_REAL_FOLDER / "timemachine.txt").is_file():
        pytest.skip("needs $CHARLM_CORPORA to hold the catalogued corpora")
    return _REAL_FOLDER
