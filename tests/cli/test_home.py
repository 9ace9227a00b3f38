"""``~`` in paths is the user's home folder, even where a shell leaves it as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charlm.home import with_home
from charlm.runs import run_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):  # POSIX, Windows
        monkeypatch.setenv(name, str(folder))
    (folder / "book.txt").write_text("abcab cabca " * 200)
    return folder


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("~", "{home}"),
        ("~/a", "{home}/a"),
        (f"~{os.sep}a", f"{{home}}{os.sep}a"),
        (["~/a", "b"], ["{home}/a", "b"]),
        *((same, same) for same in ("", "a/~", "./~/a", "~draft.txt", "~ada/a", None, 1)),
    ],
)
def test_home(home, path, wanted):
    def filled(value):
        return value.format(home=home) if isinstance(value, str) else value

    wanted = [*map(filled, wanted)] if isinstance(wanted, list) else filled(wanted)
    assert with_home(path) == wanted
    assert run_path("~/novel") == home / "novel"


def test_every_path_of_the_commands(charlm, home, folder):
    small = ["--epochs=1", "--set=model.hidden_size=4", "--set=training.prefixes=a"]
    (home / "a.toml").write_text('corpus.source = "~/book.txt"\n')
    found = charlm("train", "--config=~/a.toml", "--run=~/novel", *small, "--json")
    assert Path(found.json["run"]) == home / "novel"
    started = charlm("train", "--corpus=~/book.txt", "--from-run=~/novel", "--dry-run", "--json")
    assert started.json["config"]["model"]["from_run"] == str(home / "novel")
    scored = charlm("eval", "--run=~/novel", "--text=~/book.txt", "--json").json
    assert scored["text"] == str(home / "book.txt")
    (home / "prefix").write_text("ab")
    texts = ["--prefix-file=~/prefix", "--output=~/out.txt", "--length=3"]
    assert charlm("generate", "--run=~/novel", *texts).code == 0
    assert (home / "out.txt").read_text().startswith("ab")
    assert charlm("corpus", "add", "~/book.txt", "--corpora-dir=~/corpora").code == 0
    assert (home / "corpora" / "book.txt").exists()
    assert charlm("runs", "compare", "~/novel", "~/novel").code == 0
    assert not (folder / "~").exists()
