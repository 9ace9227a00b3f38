"""Every command of the tutorials runs, in the order of the page, with short trainings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from charlm.cli import run
from charlm.corpus import read_text

DOCS = Path(__file__).parents[1] / "docs"
BUNDLED = DOCS.parent / "charlm" / "corpus" / "bundled"


def commands(page: str) -> list[list[str]]:
    """The words of each command in the blocks and the tables of a page, without ``charlm``."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"```sh\n(.*?)```|\| `(charlm .*?)` \|", text, flags=re.DOTALL)
    lines = [line for block, cell in found for line in (cell or block).splitlines()]
    assert all(line.startswith("charlm ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def shortened(words: list[str]) -> list[str]:
    """The command; if it trains, a small network for one epoch, and on resuming for a second."""
    if "train" not in words[:2]:
        return words
    short = [*words, "--device", "cpu", "--set", f"epochs={2 if '--resume' in words else 1}"]
    if "--resume" not in words:
        short += ["--set", "hidden_size=8"]
        if words[0] == "train":
            short += ["--set", "max_chars=6000"]
    return short


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text"), [("tutorial.md", "timemachine.txt"), ("tutorial.zh.md", "night_train.txt")]
)
def test_the_commands_of_a_tutorial_run(page, text, corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_CORPORA", str(corpora))
    found = corpora / text
    if not found.exists():
        found = BUNDLED / text
    book = read_text(str(found)).text
    Path("book.txt").write_text(book[:40_000], encoding="utf-8")
    story = BUNDLED / "traveller.txt"
    Path("english.txt").write_text(read_text(str(story)).text[:4000], encoding="utf-8")
    names = sorted({word.strip("，。") for word in book.split()})
    Path("names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for words in commands(page):
        code = run(shortened(words))
        captured = capsys.readouterr()
        assert code == 0, (words, captured.err)
        assert captured.out or "--output" in words
        assert "Traceback" not in captured.err
