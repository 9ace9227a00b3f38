"""Sentences with a tag for each word, to train and test a tagger: found, read and split."""

from __future__ import annotations

import hashlib
import random
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.sources import find_source
from charlm.corpus.splits import SPLITS, take_out
from charlm.corpus.text import check_encoding
from charlm.corpus.text_files import reading
from charlm.errors import CorpusError, UsageError, shown
from charlm.tasks.tables import split_files
from charlm.tasks.tagging.config import TaggingConfig
from charlm.tasks.tagging.spans import OUTSIDE, is_iob, to_iob
from charlm.tasks.tagging.tagged_files import SUFFIXES, USUAL, Columns, Found, read_file, read_pairs

MAX_WORDS = 10_000  # in a sentence
MAX_CHARACTERS = 1_000  # in a word or a tag
MAX_TAGS = 4_096  # distinct; a model scores each pair of tags

_FOLDERS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
_MARK = re.compile("[BIESLUMW]-")
_SEED = 0  # of the draw of a valid split


class TaggedSentence(NamedTuple):
    """The words of a sentence, and a tag for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]  # any; or, if they are of spans, ``O``, ``B-kind`` or ``I-kind``


@dataclass(frozen=True, eq=False, kw_only=True)
class TaggedSentences:
    """Sentences with a tag for each word, in three splits."""

    name: str  # a short name, for run folders
    source: str  # the path of the sentences
    sha256: str  # the hash of all splits, words and tags, in order
    tags: tuple[str, ...]
    """The distinct tags of train and valid: ``O`` first, the others sorted. A model cannot learn
    other tags of the test split, so they count as errors."""
    splits: Mapping[str, tuple[TaggedSentence, ...]] = field(repr=False)  # test may be empty
    notices: tuple[str, ...] = ()  # what the user should know about the reading, one line each


def is_tag(text: str) -> bool:
    """Whether a text can be a tag: printable, and not empty."""
    return bool(text) and text.isprintable()


def load_tagged(
    source: str | Path,
    *,
    corpora_dir: str | Path | None = None,
    encoding: str | None = None,
    valid: float = 0.1,
    word_column: str | None = None,
    tag_column: str | None = None,
    scheme: str = "auto",
    progress: bool = False,
) -> TaggedSentences:
    """Tagged sentences, found, read and split.

    Args:
        source: a catalogue name; a folder that has for each split a folder with ``seq.in`` and
            ``seq.out`` (Goo et al. 2018), or a file that is named after the split; or a file. A
            file is a table, CoNLL-U, or has a word and its tag in each line and an empty line
            after a sentence (Tjong Kim Sang and De Meulder 2003, the CoNLL shared task). The split
            ``train`` is required, ``valid`` and ``test`` are optional; a table can have a column
            ``split``.
        corpora_dir, progress: as in ``find_source``.
        encoding: as in ``read_text``.
        valid: the fraction of the train sentences to draw as the valid split if there is none;
            the draw is always the same.
        word_column, tag_column: the columns of words and tags: names, or in a file with a word in
            each line numbers from 1.
        scheme: what the tags are of: spans, words, or auto. auto: of spans if each tag is O or
            begins with a mark such as ``B-``; of words if none does. The tags of spans in other
            schemes than IOB become IOB.

    Raises:
        CorpusError: the source is not found or cannot be read, a file is not in its format, or the
            tags are in no scheme; the message names file and line.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: ``valid`` is not between 0 and 1, the encoding is unknown, a column is named
            that does not exist, or the catalogued corpus is for another task.
    """
    if not 0 < valid < 1:
        raise UsageError(f"valid must lie between 0 and 1, not be {valid}", "such as 0.1")
    if encoding is not None:
        check_encoding(encoding)
    found = find_source(source, TaggingConfig.task, corpora_dir, progress=progress)
    path, notices = Path(found.path), list(found.notices)
    gathered, places = _gather(path, encoding, notices, Columns(word_column, tag_column))
    splits, of_words = _in_iob(gathered, places, scheme, notices)
    if not splits["valid"]:
        splits["train"], splits["valid"] = _draw(splits["train"], valid, path, notices)
    tags = _tags((*splits["train"], *splits["valid"]), of_words)
    if len(tags) > MAX_TAGS:
        raise CorpusError(
            f"{path} has {len(tags):,} tags, more than {MAX_TAGS:,}",
            "use fewer kinds of span, or another column of tags",
        )
    if not splits["test"]:
        notices.append("there is no test split")
    if unseen := len({tag for each in splits["test"] for tag in each.tags} - set(tags)):
        notices.append(f"tags only in the test split, which a model cannot learn: {unseen:,}")
    return TaggedSentences(
        name=found.name,
        source=str(path),
        sha256=_sha256(splits),
        tags=tags,
        splits=splits,
        notices=tuple(notices),
    )


def _gather(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> tuple[dict[str, list[TaggedSentence]], dict[str, str]]:
    """The sentences of each split, and the first place of each tag."""
    with reading(path):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        parts = _in_folder(path, encoding, notices, columns)
    elif stat.S_ISREG(mode):
        parts = iter([("", read_file(path, encoding, notices, columns))])
    else:
        raise CorpusError(f"{path} is not a regular file", "name a file or a folder")
    splits: dict[str, list[TaggedSentence]] = {split: [] for split in SPLITS}
    places: dict[str, str] = {}
    for split, sentences in parts:
        before = sum(map(len, splits.values()))
        for found in sentences:
            if found.words:
                _check(found)
                for word, tag in enumerate(found.tags):
                    if tag not in places:
                        places[tag] = found.place(word)
                splits[split or found.split or "train"].append(
                    TaggedSentence(found.words, found.tags)
                )
        if sum(map(len, splits.values())) == before:
            raise CorpusError(
                f"no sentence in {split} of {path}" if split else f"no sentence in {path}",
                "add sentences, or delete the file",
            )
    if not splits["train"]:
        raise CorpusError(f"no sentence to train on in {path}", "add some to its split train")
    return splits, places


def _in_folder(
    folder: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[tuple[str, Iterator[Found]]]:
    """The splits of a folder, and the sentences of each."""
    files = split_files(folder, SUFFIXES)
    for split, names in _FOLDERS.items():
        pairs = [(folder / name / "seq.in", folder / name / "seq.out") for name in names]
        found = [pair for pair in pairs if any(map(Path.is_file, pair))]
        if found:
            words, tags = found[0]
            if columns != USUAL:
                raise UsageError(f"{tags} has no columns", "leave the names of columns out")
            yield split, read_pairs(words, tags, encoding, notices)
        elif split in files:
            read = (read_file(file, encoding, notices, columns) for file in files[split])
            yield split, chain.from_iterable(read)
        elif split == "train":
            raise CorpusError(
                f"{folder} has neither train/seq.in and train/seq.out nor train.txt",
                "write one sentence per line in seq.in and its tags in seq.out; or one word per "
                "line in train.txt, with its tag last; or name a file",
            )


def _check(found: Found) -> None:
    """Refuse invalid words and tags, and exceeded limits."""
    if len(found.words) > MAX_WORDS:
        raise CorpusError(
            f"{found.place(0)}: a sentence of more than {MAX_WORDS:,} words",
            "split it; in a file with one word per line, an empty line ends a sentence",
        )
    for index, (word, tag) in enumerate(zip(found.words, found.tags, strict=True)):
        if len(word) > MAX_CHARACTERS or len(tag) > MAX_CHARACTERS:
            raise CorpusError(
                f"{found.place(index)}: a word or tag of more than {MAX_CHARACTERS:,} characters",
                "shorten it",
            )
        if not word or not is_tag(tag):
            wrong = f"{shown(tag)} is not a tag" if word else "a word is empty"
            raise CorpusError(
                f"{found.place(index)}: {wrong}", "a tag has printable characters, at least one"
            )


def _in_iob(
    splits: dict[str, list[TaggedSentence]],
    places: Mapping[str, str],
    scheme: str,
    notices: list[str],
) -> tuple[dict[str, tuple[TaggedSentence, ...]], bool]:
    """The sentences, with the tags of spans in IOB; and whether the tags are of words.

    ``places`` are the places of all tags.
    """
    marked = [tag for tag in places if _MARK.match(tag)]
    # A mark alone, "B-", is not a tag of a span.
    others = [tag for tag in places if tag != OUTSIDE and not _MARK.match(tag[:-1])]
    of_words = scheme == "words" or (scheme == "auto" and not marked and bool(others))
    if others and not of_words:
        raise CorpusError(
            f"{places[others[0]]}: {shown(others[0])} is not a tag of a span"
            + (f", but {shown(marked[0])} is" if marked else ""),
            "a tag of a span is O, or B-KIND, I-KIND and so on; with --set scheme=words each tag "
            "is of a single word",
        )
    if of_words:
        notices.append("the tags are of single words: F1 is that of words with a tag other than O")
    elif not all(map(is_iob, places)):
        marks = "".join(sorted({tag[0] for tag in marked}))
        notices.append(
            f"the tags have the marks {marks}: changed to B- for the first word of a span and I- "
            "for the others"
        )
        splits = {
            split: [TaggedSentence(words, tuple(to_iob(tags))) for words, tags in sentences]
            for split, sentences in splits.items()
        }
    return {split: tuple(sentences) for split, sentences in splits.items()}, of_words


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


def _tags(sentences: Iterable[TaggedSentence], of_words: bool) -> tuple[str, ...]:
    """The distinct tags: ``O`` first, for spans even if no word has it, then the others sorted."""
    seen = {tag for sentence in sentences for tag in sentence.tags}
    first = (OUTSIDE,) if OUTSIDE in seen or not of_words else ()
    return (*first, *sorted(seen - {OUTSIDE}))


def _sha256(splits: Mapping[str, tuple[TaggedSentence, ...]]) -> str:
    digest = hashlib.sha256()
    for name, sentences in splits.items():
        digest.update(f"{name} {len(sentences)}\n".encode())
        for sentence in sentences:
            lines = "".join(" ".join(row) + "\n" for row in sentence)
            digest.update(lines.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
