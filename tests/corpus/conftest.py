"""Tests of this folder do not read the user's own folders or the network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest


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
def atis(corpora: Path) -> Path:
    """The folder of the real corpora, if it has ATIS."""
    if not (corpora / "atis").is_dir():
        pytest.skip("needs atis in $CHARLM_CORPORA")
    return corpora


@pytest.fixture
def write_tagged():
    """A function that writes tagged sentences as a folder, in either layout.

    A sentence is ``"words|tags"``.
    """

    def write(folder: Path, *, columns: str | None = None, **splits: Iterable[str]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for split, sentences in splits.items():
            rows = [sentence.split("|") for sentence in sentences]
            if columns is None:
                (folder / split).mkdir()
                for name, lines in zip(("seq.in", "seq.out"), zip(*rows, strict=True), strict=True):
                    (folder / split / name).write_text("".join(f"{line}\n" for line in lines))
            else:
                pairs = [zip(*map(str.split, row), strict=True) for row in rows]
                blocks = ("".join(f"{w}{columns}{t}\n" for w, t in pair) for pair in pairs)
                (folder / f"{split}.txt").write_text("\n".join(blocks))
        return folder

    return write
