"""The examples in the docstrings of the public names give what they show."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from pathlib import Path

import pytest

import charlm
import charlm.corpus
from charlm.cli.api_page import api_page
from charlm.tasks.predicting import PredictingRun

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples():
    """The examples by name: those of the public names, and of the methods that runs inherit."""
    public = {name: getattr(charlm, name) for name in charlm.__all__ if name != "TASKS"}
    found = {}
    for name, each in {**public, "PredictingRun": PredictingRun}.items():
        for test in doctest.DocTestFinder(exclude_empty=True).find(each, name, globs={}):
            if test.examples:
                found[test.name] = test
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a short book and two runs."""
    folder = tmp_path_factory.mktemp("trained")
    text = charlm.load_corpus("traveller").kept
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("book.txt").write_text(text[:6000], encoding="utf-8")
        rows = [
            {"text": f"a {word} film", "label": label}
            for word, label in (("lovely", "good"), ("dull", "bad"))
            for _ in range(30)
        ]
        Path("reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
        small = {"hidden_size": 32, "cell": "gru", "progress": False}
        charlm.train("book.txt", run="novel", epochs=3, **small)
        charlm.train(
            "reviews.jsonl",
            task="classify",
            run="reviews",
            epochs=8,
            lr=0.05,
            buckets=1000,
            **small,
        )
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of that folder as the working folder."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


@pytest.mark.parametrize("name", examples())
def test_the_example_gives_what_it_shows(name, folder):
    test = examples()[name]
    test.globs = {"charlm": charlm}
    report = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)


def test_what_has_an_example():
    """All of the page except its parts."""
    wanted = {f"LanguageModelRun.{name}" for name in ("generate", "score", "logits", "hidden")}
    wanted |= {f"Run.{name}" for name in ("plot", "summary", "load_model", "load_corpus")}
    assert {"train", "open", "evaluate", "PredictingRun.predict"} | wanted <= {*examples()}


def test_the_first_lines_of_the_page_run(folder, capsys):
    (first, *_) = re.findall(r"```python\n(.*?)```", api_page(), flags=re.DOTALL)
    exec(first.replace("minutes=2", "epochs=1"), {})
    assert capsys.readouterr().out.startswith("The ")
