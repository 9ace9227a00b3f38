from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from charlm.corpus import add_text, catalogue
from charlm.corpus.sources import Source, find_source
from charlm.errors import CorpusError, UsageError
from charlm.tasks.classification.config import LabelledTextsSection
from charlm.tasks.classification.labelled_texts import load_labelled
from charlm.tasks.classification.reviews import load_reviews
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.tagging.config import TaggedSentencesSection
from charlm.tasks.tagging.slots import load_slots
from charlm.tasks.tagging.tagged_sentences import load_tagged

sources_module = sys.modules["charlm.corpus.sources"]
NAMES = {"language-model": "timemachine", "classify": "imdb", "tag": "atis"}


@pytest.mark.parametrize(("task", "other"), [*itertools.permutations(NAMES, 2)])
def test_a_corpus_is_for_one_task(task, other):
    name = NAMES[other]
    with pytest.raises(UsageError, match=f"is a corpus for the task {other}, not {task}") as caught:
        find_source(name, task)
    assert caught.value.hint == f"charlm corpus show {name} says how to use it"


@pytest.mark.parametrize("task", NAMES)
def test_names_and_paths(task):
    Path("novel").touch()
    Path(NAMES[task]).touch()
    for path in ("novel", f"./{NAMES[task]}", "missing/novel"):
        assert find_source(path, task) == Source(path)
    for name in ("", "a\0b", f"{NAMES[task]}s", *["-"] * (task != "language-model")):
        with pytest.raises(CorpusError, match="no corpus, file or folder is called '") as caught:
            find_source(name, task)
        assert NAMES[task] in caught.value.hint
    assert f"did you mean {NAMES[task]}?" == caught.value.hint or name == "-"
    with pytest.raises(CorpusError) as caught:
        find_source("nvel", task)
    assert caught.value.hint == "did you mean novel?"


def test_added_texts_are_for_language_models(tmp_path):
    (tmp_path / "story.md").write_text("once upon a time")
    path = add_text(tmp_path / "story.md")
    found = find_source("story", "language-model", texts=True)
    assert (found.path, found.name) == (path, "story")
    with pytest.raises(CorpusError) as caught:
        find_source("storyy", "language-model", texts=True)
    assert caught.value.hint == "did you mean story?"
    with pytest.raises(CorpusError, match="is called 'story'"):
        find_source("story", "classify")


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize(
    ("load", "name"),
    [
        (load_corpus, "timemachine"),
        (load_labelled, "imdb"),
        (load_tagged, "atis"),
        (lambda name, **how: load_reviews(LabelledTextsSection(source=name), **how), "imdb"),
        (lambda name, **how: load_slots(TaggedSentencesSection(source=name), **how), "atis"),
    ],
)
def test_a_missing_corpus_is_downloaded(tmp_path, monkeypatch, load, name, progress):
    def fetch(entry, corpora_dir, *, progress):
        fetched.append((entry.name, progress))
        return path

    path = tmp_path / "a.csv"
    path.write_text("text,label\nbad,0\ngood,1\n")
    if name == "atis":
        path = tmp_path
        (path / "train.txt").write_text("to O\n\nboston B-city\n")
    fetched: list[tuple[str, bool]] = []
    monkeypatch.setattr(sources_module, "fetch", fetch)
    found = load(name, progress=progress)
    assert fetched == [(name, progress)]
    assert (found.name, found.source) == (name, str(path))
    address = catalogue()[name].address
    assert found.notices[0] == f"downloaded {name} from {address} to {path}"
