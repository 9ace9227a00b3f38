"""Sentences with a tag for each word, to train and test a tagger: found, read and split.

Two layouts are read:

- a folder per split, with one sentence per line in ``seq.in`` and its tags in the same line of
  ``seq.out`` (Goo et al. 2018);
- a file per split, such as ``train.txt``, with one word per line, its tag in the last column, and
  an empty line between sentences (Tjong Kim Sang and De Meulder 2003, the CoNLL shared task).
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

from charlm.corpus.sources import find_source
from charlm.corpus.splits import take_out
from charlm.corpus.text import read_text
from charlm.errors import CorpusError, UsageError, shown
from charlm.tasks.tagging.config import TaggingConfig

OUTSIDE = "O"  # the tag of a word outside all spans

MAX_BYTES = 2**26  # in a file
MAX_LINES = 2**22  # in a file
MAX_LINE = 2**20  # characters in a line
MAX_WORDS = 10_000  # in a sentence
MAX_CHARACTERS = 1_000  # in a word or a tag
MAX_TAGS = 4_096  # distinct; a model scores each pair of tags

_SPLITS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
_TAG = re.compile("O|[BI]-.+", re.DOTALL)
_COLUMN = re.compile(r"[^ \t]+")  # str.split would split at other spaces, such as U+00A0
_SEED = 0  # of the draw of a valid split


class TaggedSentence(NamedTuple):
    """The words of a sentence, and a tag for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]  # ``O``, ``B-kind`` or ``I-kind`` each


@dataclass(frozen=True, eq=False, kw_only=True)
class TaggedSentences:
    """Sentences with a tag for each word, in three splits."""

    name: str  # a short name, for run folders
    source: str  # the folder of the sentences
    sha256: str  # the hash of all splits, words and tags, in order
    tags: tuple[str, ...]
    """The distinct tags of train and valid: ``O`` first, the others sorted. A model cannot learn
    other tags of the test split, so they count as errors."""
    splits: Mapping[str, tuple[TaggedSentence, ...]] = field(repr=False)  # test may be empty
    notices: tuple[str, ...] = ()  # what the user should know about the reading, one line each


def is_tag(text: str) -> bool:
    """Whether a text is a tag: O, B-kind or I-kind."""
    return _TAG.fullmatch(text) is not None


def load_tagged(
    source: str,
    *,
    corpora_dir: Path | None = None,
    encoding: str | None = None,
    valid: float = 0.1,
    progress: bool = False,
) -> TaggedSentences:
    """Tagged sentences, found, read and split.

    Args:
        source: a catalogue name, or a folder in one of the two layouts. The split ``train`` is
            required, ``valid`` (or ``dev``) and ``test`` are optional.
        corpora_dir, progress: as in ``find_source``.
        encoding: as in ``read_text``.
        valid: the fraction of the train sentences to draw as the valid split if the folder has
            none; the draw is always the same.

    Raises:
        CorpusError: the folder is not found or cannot be read, or a file is not in the layout; the
            message names file and line.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: ``valid`` is not between 0 and 1, the encoding is unknown, or the catalogued
            corpus is for another task.
    """
    if not 0 < valid < 1:
        raise UsageError(f"valid must lie between 0 and 1, not be {valid}", "such as 0.1")
    found = find_source(source, TaggingConfig.task, corpora_dir, progress=progress)
    folder, notices = Path(found.path), list(found.notices)
    if not os.path.isdir(folder):
        raise CorpusError(f"{folder} is not a folder", "name a folder of tagged sentences")
    splits = {split: _read_split(folder, split, encoding, notices) for split in _SPLITS}
    if not splits["valid"]:
        splits["train"], splits["valid"] = _draw(splits["train"], valid, folder, notices)
    tags = _tags((*splits["train"], *splits["valid"]))
    if len(tags) > MAX_TAGS:
        raise CorpusError(
            f"{folder} has {len(tags):,} tags, more than {MAX_TAGS:,}", "use fewer kinds of span"
        )
    if unseen := len(set(_tags(splits["test"])) - set(tags)):
        notices.append(f"tags only in the test split, which a model cannot learn: {unseen:,}")
    return TaggedSentences(
        name=found.name,
        source=str(folder),
        sha256=_sha256(splits),
        tags=tags,
        splits=splits,
        notices=tuple(notices),
    )


def _read_split(
    folder: Path, split: str, encoding: str | None, notices: list[str]
) -> tuple[TaggedSentence, ...]:
    """The sentences of a split in its layout; none if the folder has no valid or test split."""
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
            raise CorpusError(
                f"no sentence in {split} of {folder}", "add sentences, or delete its files"
            )
        return sentences
    if split == "train":
        raise CorpusError(
            f"{folder} has neither train/seq.in and train/seq.out nor train.txt",
            "write one sentence per line in seq.in and its tags in seq.out; "
            "or one word per line in train.txt, with its tag last",
        )
    if split == "test":
        notices.append("there is no test split")
    return ()


def _lines(path: Path, encoding: str | None, notices: list[str]) -> list[str]:
    """The lines of a file, without empty lines at its end."""
    if not os.path.isfile(path):
        raise CorpusError(
            f"no such file: {path}", "write words in seq.in and their tags in seq.out"
        )
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
                "write one sentence per line",
            )
    return lines


def _pairs(
    words: Path, tags: Path, encoding: str | None, notices: list[str]
) -> Iterator[TaggedSentence]:
    """The sentences of a file of words and a file of tags."""
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
    """The sentences of a file with one word per line."""
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
                "write the tag of each word at the end of its line",
            )
        words.append(columns[0])
        tags.append(columns[-1])


def _check(sentence: TaggedSentence, path: Path, numbers: Sequence[int]) -> None:
    """Refuse invalid tags and exceeded limits; ``numbers`` are the line numbers of the words."""
    if len(sentence.words) > MAX_WORDS:
        raise CorpusError(
            f"{path}, line {numbers[0]:,}: a sentence of more than {MAX_WORDS:,} words",
            "split it; in a file with one word per line, an empty line ends a sentence",
        )
    for word, tag, number in zip(*sentence, numbers, strict=True):
        if not is_tag(tag):
            raise CorpusError(
                f"{path}, line {number:,}: {shown(tag)} is not a tag",
                "a tag is O, B-KIND or I-KIND",
            )
        if len(word) > MAX_CHARACTERS or len(tag) > MAX_CHARACTERS:
            raise CorpusError(
                f"{path}, line {number:,}: a word or tag of more than {MAX_CHARACTERS:,} "
                "characters",
                "shorten it",
            )


def _draw(
    train: tuple[TaggedSentence, ...], valid: float, folder: Path, notices: list[str]
) -> tuple[tuple[TaggedSentence, ...], tuple[TaggedSentence, ...]]:
    """The remaining train sentences and the sentences drawn for a valid split, in their order."""
    if len(train) < 2:
        raise CorpusError(
            f"{folder} has only one train sentence and no valid split", "add sentences"
        )
    size = min(len(train) - 1, max(1, round(len(train) * valid)))
    # Only random() is guaranteed to give the same numbers in every version of Python.
    draw = random.Random(_SEED)
    order = sorted((draw.random(), index) for index in range(len(train)))
    notices.append(f"no valid split: drew {size:,} of {len(train):,} train sentences for it")
    kept, valid_split = take_out(train, [index for _, index in order[:size]])
    return tuple(kept), tuple(valid_split)


def _tags(sentences: Iterable[TaggedSentence]) -> tuple[str, ...]:
    """The distinct tags: ``O`` first, even if no word has it, then the others sorted."""
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
