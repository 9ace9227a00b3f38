"""Damaged and hostile folders of tagged sentences: one clear line names the file and line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.errors import CharlmError, CorpusError
from charlm.tasks.tagging.tagged_sentences import load_tagged

modules = [
    sys.modules[f"charlm.tasks.tagging.{name}"] for name in ("tagged_files", "tagged_sentences")
]

GOOD = {
    "train/seq.in": b"to boston\nfares\n",
    "train/seq.out": b"O B-city\nO\n",
    "valid/seq.in": b"now\n",
    "valid/seq.out": b"O\n",
}


def write(folder: Path, files: dict[str, bytes | None]) -> None:
    for name, data in files.items():
        if data is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)


def message(folder: Path) -> str:
    """The error of loading the folder: the message and the hint are one line each."""
    with pytest.raises(CorpusError) as caught:
        load_tagged(str(folder))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.hint
    assert len(caught.value.message) < len(str(folder)) * 2 + 200
    return caught.value.message.replace(str(folder), "FOLDER")


class Fault(NamedTuple):
    name: str
    files: dict[str, bytes | None]
    """The files that differ from GOOD; None: the file is missing."""
    message: str


COLUMNS: dict[str, bytes | None] = dict.fromkeys(GOOD)
FAULTS = [
    Fault("nothing at all", COLUMNS,
          "FOLDER has neither train/seq.in and train/seq.out nor train.txt"),
    Fault("no train", {"train/seq.in": None, "train/seq.out": None},
          "FOLDER has neither train/seq.in and train/seq.out nor train.txt"),
    Fault("no tags", {"train/seq.out": None}, "no such file: FOLDER/train/seq.out"),
    Fault("no words", {"valid/seq.in": None}, "no such file: FOLDER/valid/seq.in"),
    Fault("tags in the test split alone", {"test/seq.out": b"O\n"},
          "no such file: FOLDER/test/seq.in"),
    Fault("a line of tags too few", {"train/seq.out": b"O B-city\n"},
          "FOLDER/train/seq.in has 2 lines, but FOLDER/train/seq.out has 1"),
    Fault("a tag too many", {"train/seq.out": b"O B-city\nO O\n"},
          "FOLDER/train/seq.out, line 2: 2 tags for 1 words"),
    Fault("a line without tags", {"train/seq.out": b"\nO\n"},
          "FOLDER/train/seq.out, line 1: 0 tags for 2 words"),
    Fault("a tag without a kind", {"valid/seq.out": b"B\n"},
          "FOLDER/valid/seq.out, line 1: 'B' is not a tag of a span, but 'B-city' is"),
    Fault("a tag with an empty kind", {"train/seq.out": b"O B-\nO\n"},
          "FOLDER/train/seq.out, line 1: 'B-' is not a tag of a span"),
    Fault("another scheme", {"valid/seq.out": b"X-city\n"},
          "FOLDER/valid/seq.out, line 1: 'X-city' is not a tag of a span, but 'B-city' is"),
    Fault("small letters", {"valid/seq.out": b"o\n"},
          "FOLDER/valid/seq.out, line 1: 'o' is not a tag"),
    Fault("a hostile tag", {"valid/seq.out": b"\x1b[31m" + b"x" * 900 + b"\n"},
          "FOLDER/valid/seq.out, line 1: '\\x1b[31m"),
    Fault("empty", {"train/seq.in": b""}, "FOLDER/train/seq.in is empty"),
    Fault("empty lines", {"train/seq.in": b"\n \n", "train/seq.out": b"\n\t\n"},
          "no sentence in train of FOLDER"),
    Fault("empty lines in the test split", {"test/seq.in": b"\n", "test/seq.out": b"\n"},
          "no sentence in test of FOLDER"),
    Fault("not UTF-8", {"train/seq.in": b"to boston\nf\xffres\n"},
          "FOLDER/train/seq.in is not UTF-8: byte 0xff at byte offset 11, line 2"),
    Fault("binary", {"train/seq.in": b"to boston\nf\0res\n"},
          "FOLDER/train/seq.in has a NUL byte at byte offset 11, line 2"),
    Fault("a single sentence and no valid",
          {"train/seq.in": b"to\n", "train/seq.out": b"O\n", "valid/seq.in": None,
           "valid/seq.out": None},
          "FOLDER has only one train sentence and no valid split"),
    Fault("a column alone", COLUMNS | {"train.txt": b"to O\nboston\n"},
          "FOLDER/train.txt, line 2: 'boston' has no tag"),
    Fault("a column too many", COLUMNS | {"train.txt": b"\nto O\nboston X B-city\n\nx O\n"},
          "FOLDER/train.txt, line 3 has 3 columns, but others have 2"),
    Fault("columns with a bad tag", COLUMNS | {"train.txt": b"\nto O\nboston B_city\n\nx B-y\n"},
          "FOLDER/train.txt, line 3: 'B_city' is not a tag"),
    Fault("columns with a bad tag at the end", COLUMNS | {"train.txt": b"a B-x\n\nto O\nb NN"},
          "FOLDER/train.txt, line 4: 'NN' is not a tag"),
    Fault("document marks alone", COLUMNS | {"train.txt": b"-DOCSTART- -X- O\n\n"},
          "no sentence in train of FOLDER"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(tmp_path, fault):
    write(tmp_path, {**GOOD, **fault.files})
    assert message(tmp_path).startswith(fault.message)


class Limit(NamedTuple):
    limit: str
    allowed: int
    """The lowest limit that GOOD does not exceed."""
    value: int
    files: dict[str, bytes | None]
    message: str


LIMITS = [
    Limit("MAX_BYTES", 16, 15, GOOD, "FOLDER/train/seq.in is larger than 0 MiB"),
    Limit("MAX_LINES", 2, 1, GOOD, "FOLDER/train/seq.in has more than 1 lines"),
    Limit("MAX_LINE", 9, 8, GOOD, "FOLDER/train/seq.in, line 1 has more than 8 characters"),
    Limit("MAX_WORDS", 2, 1, GOOD,
          "FOLDER/train/seq.out, line 1: a sentence of more than 1 words"),
    Limit("MAX_WORDS", 2, 1, COLUMNS | {"train.txt": b"\na O\n\nb O\nc O\n\nd O"},
          "FOLDER/train.txt, line 4: a sentence of more than 1 words"),
    Limit("MAX_CHARACTERS", 6, 5, GOOD,
          "FOLDER/train/seq.out, line 1: a word or tag of more than 5 characters"),
    Limit("MAX_TAGS", 2, 1, GOOD, "FOLDER has 2 tags, more than 1"),
]  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.limit)
def test_limits(tmp_path, monkeypatch, limit):
    write(tmp_path, GOOD)
    (module,) = (module for module in modules if hasattr(module, limit.limit))
    monkeypatch.setattr(module, limit.limit, limit.allowed)
    assert len(load_tagged(str(tmp_path)).splits["train"]) == 2
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    write(tmp_path, {**GOOD, **limit.files})
    monkeypatch.setattr(module, limit.limit, limit.value)
    assert message(tmp_path).startswith(limit.message)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes, links and devices")
@pytest.mark.parametrize(
    "make", [pipe, circle, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]
)
def test_odd_files_are_refused_at_once(tmp_path, make: Callable[[Path], object]):
    write(tmp_path, GOOD | {"train/seq.out": None})
    make(tmp_path / "train" / "seq.out")
    assert message(tmp_path) == "no such file: FOLDER/train/seq.out"


LINES = st.lists(
    st.sampled_from(
        [
            b"O",
            b"B-x",
            b"I-x",
            b"a",
            b" ",
            b"\t",
            b"\n",
            b"\r",
            b"\xff",
            b"\0",
            b"-",
            b'[{"words":"a","tags":',
            b'"O"',
            b"}",
            b"]",
            b",",
            b"1\ta" + b"\t_" * 8,
        ]
    ),
    max_size=12,
).map(b"".join)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=LINES, tags=LINES, name=st.sampled_from(["", "txt", "conllu", "json", "csv"]))
def test_any_bytes_are_read_or_refused(tmp_path, words, tags, name):
    """The error is a CharlmError; sentences that are read have a tag for each word."""
    write(tmp_path, GOOD | {"test/seq.in": words, "test/seq.out": tags})
    file = tmp_path / f"test.{name}"
    if name:
        (tmp_path / "test" / "seq.in").unlink()
        (tmp_path / "test" / "seq.out").unlink()
        file.write_bytes(words)
    try:
        test = load_tagged(str(tmp_path)).splits["test"]
    except CharlmError:
        return
    finally:
        file.unlink(missing_ok=True)
    assert test
    assert all(len(sentence.words) == len(sentence.tags) > 0 for sentence in test)
