"""Sentences with a tag for each word: slots of a question, names in a text, chunks of a sentence.

Two layouts are read. In the one, a folder for each split has a sentence to a line in ``seq.in``
and its tags in the same line of ``seq.out`` (Goo et al. 2018). In the other, a file for each
split, such as ``train.txt``, has a word to a line, its tag in the last column, and an empty line
between sentences (Tjong Kim Sang and De Meulder 2003, the CoNLL shared task).
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.catalogue import catalogue
from charlm.corpus.corpus import find_catalogued
from charlm.corpus.text import read_text, short_name
from charlm.errors import CorpusError, UsageError, did_you_mean, shown

OUTSIDE = "O"
"""The tag of a word that is in no span."""

MAX_BYTES = 2**26  # of a file
MAX_LINES = 2**22  # of a file
MAX_LINE = 2**20  # characters
MAX_WORDS = 10_000  # of a sentence
MAX_CHARACTERS = 1_000  # of a word or a tag
MAX_TAGS = 4_096  # distinct; a model scores each pair of them

_SPLITS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
_TAG = re.compile("O|[BI]-.+", re.DOTALL)
_COLUMN = re.compile(r"[^ \t]+")  # str.split would split a word at a space that does not break it
_SEED = 0  # of the sentences drawn for a valid split


class TaggedSentence(NamedTuple):
    """A sentence, as words and as many tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    """``O``, ``B-kind`` or ``I-kind`` each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TaggedSentences:
    """Sentences with a tag for each word, in three splits."""

    name: str
    """A short name, for run folders."""
    source: str
    """The folder that they were read from."""
    sha256: str
    """Of all words and tags, in order, with the splits that they are in."""
    tags: tuple[str, ...]
    """The distinct tags of train and valid: ``O`` first, the others sorted. The test split may
    have more, which no model can learn and which count as missed."""
    splits: Mapping[str, tuple[TaggedSentence, ...]] = field(repr=False)
    """``train``, ``valid`` and ``test``; the last may be empty."""
    notices: tuple[str, ...] = ()
    """What the user should know about how they were read, one line each."""


def is_tag(text: str) -> bool:
    """Whether it is O, B-kind or I-kind."""
    return _TAG.fullmatch(text) is not None


def load_tagged(
    source: str,
    *,
    corpora_dir: Path | None = None,
    encoding: str | None = None,
    valid: float = 0.1,
) -> TaggedSentences:
    """Find and read tagged sentences.

    Args:
        source: a catalogue name; else a folder of either layout, with ``train``, maybe ``valid``
            or ``dev``, and maybe ``test``. A folder called like a catalogued corpus is named as
            a path: ``./atis``.
        corpora_dir: a folder to look in first and download to.
        encoding: as in ``read_text``.
        valid: where there is no valid split, the fraction of the training sentences that is drawn
            for it; always the same ones.

    Raises:
        CorpusError: nothing there, unreadable, or not tagged sentences; it names file and line.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: ``valid`` is no fraction, there is no such encoding, or the catalogued corpus
            is for another task.
    """
    if not 0 < valid < 1:
        raise UsageError(f"valid must lie between 0 and 1, not be {valid}", "such as 0.1")
    folder, name, notices = _find(source, corpora_dir)
    splits = {split: _read_split(folder, split, encoding, notices) for split in _SPLITS}
    if not splits["valid"]:
        splits["train"], splits["valid"] = _draw(splits["train"], valid, folder, notices)
    tags = _tags((*splits["train"], *splits["valid"]))
    if len(tags) > MAX_TAGS:
        raise CorpusError(
            f"{folder} has {len(tags):,} tags, more than {MAX_TAGS:,}", "use fewer kinds of span"
        )
    if unseen := len(set(_tags(splits["test"])) - set(tags)):
        notices.append(f"{unseen} tag(s) of the test split are in neither train nor valid")
    return TaggedSentences(
        name=name,
        source=str(folder),
        sha256=_sha256(splits),
        tags=tags,
        splits=splits,
        notices=tuple(notices),
    )


def _find(source: str, corpora_dir: Path | None) -> tuple[Path, str, list[str]]:
    """The folder of ``source``, a short name, and a notice if it was downloaded."""
    entry = catalogue().get(source)
    if entry and entry.task == "tag":
        path, found = find_catalogued(entry, corpora_dir)
        return path, entry.name, list(found)
    if entry:
        raise UsageError(f"{entry.name} has no tags: it is for another task", entry.command)
    folder = Path(source)
    if not source or not os.path.isdir(folder):
        tagged = (name for name, known in catalogue().items() if known.task == "tag")
        raise CorpusError(
            f"no folder of tagged sentences is called {shown(source)}", did_you_mean(source, tagged)
        )
    return folder, short_name(folder), []


def _read_split(
    folder: Path, split: str, encoding: str | None, notices: list[str]
) -> tuple[TaggedSentence, ...]:
    """The sentences of a split in the layout that it is there in; none, where it is not there.

    Raises:
        CorpusError: it is there and holds no sentence, or is not there and is the train split.
    """
    for name in _SPLITS[split]:
        words, tags, columns = folder / name / "seq.in", folder / name / "seq.out", name + ".txt"
        if os.path.isfile(words) or os.path.isfile(tags):
            read = _pairs(words, tags, encoding, notices)
        elif os.path.isfile(folder / columns):
            read = _columns(folder / columns, encoding, notices)
        else:
            continue
        sentences = tuple(read)
        if not sentences:
            raise CorpusError(f"no sentence in {split} of {folder}", "fill it, or delete its files")
        return sentences
    if split == "train":
        raise CorpusError(
            f"{folder} has neither train/seq.in and train/seq.out nor train.txt",
            "put a sentence to a line in seq.in and its tags in seq.out; "
            "or, in train.txt, a word to a line with its tag last",
        )
    if split == "test":
        notices.append("there is no test split")
    return ()


def _lines(path: Path, encoding: str | None, notices: list[str]) -> list[str]:
    """The lines of a file, without empty ones at its end."""
    if not os.path.isfile(path):
        raise CorpusError(f"no such file: {path}", "words go in seq.in, their tags in seq.out")
    if path.stat().st_size > MAX_BYTES:
        raise CorpusError(f"{path} is larger than {MAX_BYTES >> 20} MiB", "use a part of it")
    text = read_text(path, encoding=encoding)
    notices += (f"{path}: {notice}" for notice in text.notices)
    lines = text.text.rstrip("\n").split("\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        raise CorpusError(f"{path} has more than {MAX_LINES:,} lines", "use a part of it")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise CorpusError(
                f"{path}, line {number:,} has more than {MAX_LINE:,} characters",
                "put each sentence in a line of its own",
            )
    return lines


def _pairs(
    words: Path, tags: Path, encoding: str | None, notices: list[str]
) -> Iterator[TaggedSentence]:
    """The sentences of a file of words and a file of tags, line by line."""
    sentences = [_lines(path, encoding, notices) for path in (words, tags)]
    if len(sentences[0]) != len(sentences[1]):
        raise CorpusError(
            f"{words} has {len(sentences[0]):,} lines, but {tags} has {len(sentences[1]):,}",
            "each line of words needs a line of tags",
        )
    for number, pair in enumerate(zip(*sentences, strict=True), 1):
        sentence = TaggedSentence(*(tuple(_COLUMN.findall(line)) for line in pair))
        if len(sentence.words) != len(sentence.tags):
            raise CorpusError(
                f"{tags}, line {number:,}: {len(sentence.tags):,} tags for "
                f"{len(sentence.words):,} words",
                f"each word in line {number:,} of {words} needs a tag",
            )
        if sentence.words:
            _check(sentence, tags, [number] * len(sentence.words))
            yield sentence


def _columns(path: Path, encoding: str | None, notices: list[str]) -> Iterator[TaggedSentence]:
    """The sentences of a file with a word to a line."""
    words: list[str] = []
    tags: list[str] = []
    for number, line in zip(count(1), chain(_lines(path, encoding, notices), [""])):
        columns = _COLUMN.findall(line)
        if not columns or columns[0] == "-DOCSTART-":
            if words:
                sentence = TaggedSentence(tuple(words), tuple(tags))
                _check(sentence, path, range(number - len(words), number))
                yield sentence
                words, tags = [], []
            continue
        if len(columns) < 2:
            raise CorpusError(
                f"{path}, line {number:,}: {shown(columns[0])} has no tag",
                "a line is a word and, last, its tag",
            )
        words.append(columns[0])
        tags.append(columns[-1])


def _check(sentence: TaggedSentence, path: Path, numbers: Sequence[int]) -> None:
    """Refuse what is no tag, and what is too long; ``numbers`` are the words' lines."""
    if len(sentence.words) > MAX_WORDS:
        raise CorpusError(
            f"{path}, line {numbers[0]:,}: a sentence of more than {MAX_WORDS:,} words",
            "split it; in a file with a word to a line, an empty line ends a sentence",
        )
    for word, tag, number in zip(*sentence, numbers, strict=True):
        if not is_tag(tag):
            raise CorpusError(
                f"{path}, line {number:,}: {shown(tag)} is no tag",
                "tags are O, B- and a kind, or I- and a kind",
            )
        if len(word) > MAX_CHARACTERS or len(tag) > MAX_CHARACTERS:
            raise CorpusError(
                f"{path}, line {number:,}: a word or tag of more than {MAX_CHARACTERS:,} "
                "characters",
                "shorten it, if it is a word at all",
            )


def _draw(
    train: tuple[TaggedSentence, ...], valid: float, folder: Path, notices: list[str]
) -> tuple[tuple[TaggedSentence, ...], tuple[TaggedSentence, ...]]:
    """The training sentences, and those taken out of them for a valid split, in their order."""
    if len(train) < 2:
        raise CorpusError(
            f"{folder} has a single training sentence, and no valid split", "add sentences"
        )
    size = min(len(train) - 1, max(1, round(len(train) * valid)))
    # random() alone draws the same numbers in every version of Python.
    draw = random.Random(_SEED)
    order = sorted((draw.random(), index) for index in range(len(train)))
    drawn = {index for _, index in order[:size]}
    notices.append(f"no valid split: drew {size:,} of {len(train):,} training sentences for it")
    kept, valid_split = (
        tuple(sentence for index, sentence in enumerate(train) if (index in drawn) == wanted)
        for wanted in (False, True)
    )
    return kept, valid_split


def _tags(sentences: Iterable[TaggedSentence]) -> tuple[str, ...]:
    """The distinct tags: ``O`` first, whether it is there or not, and the others sorted."""
    seen = {tag for sentence in sentences for tag in sentence.tags}
    return (OUTSIDE, *sorted(seen - {OUTSIDE}))


def _sha256(splits: Mapping[str, tuple[TaggedSentence, ...]]) -> str:
    digest = hashlib.sha256()
    for name, sentences in splits.items():
        digest.update(f"{name} {len(sentences)}\n".encode())
        for sentence in sentences:
            lines = "".join(" ".join(row) + "\n" for row in sentence)
            digest.update(lines.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
