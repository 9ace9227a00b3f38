from __future__ import annotations

import sys
from pathlib import Path

import pytest

from charlm.config import LabelledTextsSection, TaggedSentencesSection
from charlm.corpus import add_text, catalogue, load_corpus, load_labelled, load_tagged
from charlm.corpus.catalogue import CLASSIFY, LANGUAGE_MODEL, TAG, find_entry
from charlm.corpus.reviews import load_reviews
from charlm.corpus.slots import load_slots
from charlm.corpus.sources import Source, find_source
from charlm.errors import CorpusError, UsageError

sources_module = sys.modules["charlm.corpus.sources"]
NAMES = {LANGUAGE_MODEL: "timemachine", CLASSIFY: "imdb", TAG: "atis"}


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_a_corpus_is_for_one_task(task, other):
    entry = catalogue()[NAMES[other]]
    if task == other:
        assert find_entry(entry.name, task) is entry
        return
    with pytest.raises(UsageError, match=f"is a corpus for the task {other}, not {task}") as caught:
        find_source(entry.name, task)
    assert caught.value.hint == f"use {entry.command}"


@pytest.mark.parametrize("task", NAMES)
def test_names_and_paths(task):
    assert find_entry("novel", task) is None
    Path("novel").touch()
    Path(NAMES[task]).touch()
    for path in ("novel", f"./{NAMES[task]}", "missing/novel"):
        assert find_source(path, task) == Source(path)
    for name in ("", "a\0b", f"{NAMES[task]}s", *["-"] * (task != LANGUAGE_MODEL)):
        with pytest.raises(CorpusError, match="no corpus, file or folder is called '") as caught:
            find_source(name, task)
        assert NAMES[task] in caught.value.hint
    assert f"did you mean {NAMES[task]}?" == caught.value.hint or name == "-"


def test_added_texts_are_for_language_models(tmp_path):
    (tmp_path / "story.md").write_text("once upon a time")
    path = add_text(tmp_path / "story.md")
    found = find_source("story", LANGUAGE_MODEL)
    assert (found.path, found.name) == (path, "story")
    with pytest.raises(CorpusError) as caught:
        find_source("storyy", LANGUAGE_MODEL)
    assert caught.value.hint == "did you mean story?"
    with pytest.raises(CorpusError, match="is called 'story'"):
        find_source("story", CLASSIFY)


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize(
    ("load", "name"),
    [
        (load_corpus, "timemachine"),
        (load_labelled, "imdb"),
        (load_tagged, "atis"),
        (
            lambda name, progress: load_reviews(
                LabelledTextsSection(source=name), progress=progress
            ),
            "imdb",
        ),
        (
            lambda name, progress: load_slots(
                TaggedSentencesSection(source=name), progress=progress
            ),
            "atis",
        ),
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
