"""Tagged sentences in files: the formats, and how a sentence is found in each."""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from charlm.corpus.text import read_text
from charlm.corpus.text_files import check_characters
from charlm.errors import CorpusError, UsageError, counted, did_you_mean, shown
from charlm.tasks.tables import is_table, read_table

MAX_BYTES = 2**26  # in a file of lines
MAX_LINES = 2**22  # in a file of lines
MAX_LINE = 2**20  # characters in a line

SUFFIXES = (
    *(".conllu", ".parquet", ".jsonl", ".ndjson", ".json"),
    *(".conll", ".bio", ".iob", ".iob2", ".bioes", ".tsv", ".txt", ".csv", ""),
)
"""The suffixes of the files of a folder, the first that it has wins; ``.gz`` may follow."""

_WORDS = ("tokens", "words", "text", "sentence")
_TAGS = (
    *("tags", "ner_tags", "labels", "label", "ner", "slots", "pos_tags", "upos", "pos"),
    *("spans", "entities"),
)
_NUMBERS = ("sentence #", "sentence_id", "sentence id", "sent_id", "sentence_number")
_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_MAY_BE_MISSING = ("lemma", "feats", "misc")  # "_" is a value of these

_DOCUMENT = "-DOCSTART-"  # the first column of the line that starts a document in CoNLL-2003
_COLUMN = re.compile(r"[^ \t]+")  # str.split would split at other spaces, such as U+00A0
_WORD = re.compile(r"\S+")
_ID = re.compile(r"[0-9]+([-.][0-9]+)?")


class Columns(NamedTuple):
    """The columns that the user names; None: the usual ones."""

    words: str | None = None
    tags: str | None = None


USUAL = Columns()


class Found(NamedTuple):
    """A sentence in its source; it may have no word."""

    split: str | None  # ``train``, ``valid`` or ``test``; None where the source has no splits
    words: tuple[str, ...]
    tags: tuple[str, ...]  # as many as words, in the scheme of the source
    path: str  # the file; or the place of the sentence
    lines: Sequence[int | str] = ()  # the line or place of each word; empty if it is ``path``

    def place(self, word: int) -> str:
        """The place of a word, for a message."""
        line = self.lines[word] if self.lines else self.path
        return line if isinstance(line, str) else f"{self.path}, line {line:,}"


def word_places(sentence: str) -> list[tuple[int, int]]:
    """The first character of each word of a sentence, and the one after the word's last."""
    return [found.span() for found in _WORD.finditer(sentence)]


def read_pairs(
    words: Path, tags: Path, encoding: str | None, notices: list[str]
) -> Iterator[Found]:
    """The sentences of a file of words and a file of tags, one sentence in each line.

    Raises:
        CorpusError: a file is missing or not text, or a line has not as many tags as words.
    """
    sentences = [_lines(path, encoding, notices) for path in (words, tags)]
    if len(sentences[0]) != len(sentences[1]):
        raise CorpusError(
            f"{words} has {len(sentences[0]):,} lines, but {tags} has {len(sentences[1]):,}",
            "each line of words needs a line of tags",
        )
    for number, pair in enumerate(zip(*sentences, strict=True), 1):
        found = [tuple(_COLUMN.findall(line)) for line in pair]
        if len(found[0]) != len(found[1]):
            raise CorpusError(
                f"{tags}, line {number:,}: {len(found[1]):,} tags for {len(found[0]):,} words",
                f"each word in line {number:,} of {words} needs a tag",
            )
        yield Found(None, found[0], found[1], str(tags), [number] * len(found[0]))


def read_file(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[Found]:
    """The sentences of a file: JSON, parquet, CSV, CoNLL-U, or a word and its tags in each line.

    Raises:
        CorpusError: the file cannot be read, is not in the format, or lacks a column.
        UsageError: a column is named that the format does not have.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        return _words_in_rows(path, encoding, notices, columns)
    if is_table(path) and not name.endswith(".tsv"):
        return _records(path, encoding, notices, columns)
    lines = _lines(path, encoding, notices)
    first = next((line for line in lines if line.strip() and line[0] != "#"), "")
    fields = first.split("\t")
    if name.endswith(".conllu") or (len(fields) == len(_CONLLU) and _ID.fullmatch(fields[0])):
        return _conllu(lines, path, columns)
    return _columns(lines, path, columns)


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


def _columns(lines: list[str], path: Path, columns: Columns) -> Iterator[Found]:
    """The sentences of a file with a word in each line and an empty line after a sentence."""
    plain = (row for row in map(_COLUMN.findall, lines) if row and row[0][0] != "#")
    width = next((len(row) for row in plain if row[0] != _DOCUMENT), 2)
    at = _number(columns.words, 1, width, path)
    tag_at = _number(columns.tags, width, width, path)
    words: list[str] = []
    tags: list[str] = []
    for number, row in zip(count(1), map(_COLUMN.findall, chain(lines, [""]))):
        if not row or row[0] == _DOCUMENT:
            yield Found(
                None, tuple(words), tuple(tags), str(path), range(number - len(words), number)
            )
            words, tags = [], []
        elif len(row) == width > 1:
            words.append(row[at])
            tags.append(row[tag_at])
        elif row[0][0] != "#" or words:  # else it is a comment before a sentence
            raise CorpusError(
                f"{path}, line {number:,}: {shown(row[0])} has no tag"
                if len(row) == 1
                else f"{path}, line {number:,} has {len(row):,} columns, but others have {width:,}",
                "write each word and its tag on a line, in the same columns",
            )


def _number(given: str | None, usual: int, width: int, path: Path) -> int:
    """The index of a column that is given by its number."""
    if given is None:
        return usual - 1
    if not given.isdecimal() or not 1 <= int(given) <= width:
        raise UsageError(
            f"no column {shown(given)} in {path}",
            f"its columns have no names: give a number from 1 to {width:,}",
        )
    return int(given) - 1


def _conllu(lines: list[str], path: Path, columns: Columns) -> Iterator[Found]:
    """The sentences of CoNLL-U (universaldependencies.org/format.html).

    Comments, ranges of words that are written as one (``1-2``) and empty nodes (``1.1``) are left
    out.
    """
    at, tag_at = (
        _CONLLU.index(_name(given or usual, path))
        for given, usual in zip(columns, ("form", "upos"), strict=True)
    )
    words: list[str] = []
    tags: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip():
            yield Found(None, tuple(words), tuple(tags), str(path), numbers)
            words, tags, numbers = [], [], []
            continue
        if line.startswith("#"):
            continue
        fields, where = line.split("\t"), f"{path}, line {number:,}"
        if len(fields) != len(_CONLLU) or not _ID.fullmatch(fields[0]):
            raise CorpusError(
                f"{where} is not CoNLL-U: it has {counted(len(fields), 'column')} and starts with "
                f"{shown(fields[0])}",
                "a line has ten columns with tabs between them, the first is a number",
            )
        if not fields[0].isdecimal():
            continue
        if fields[tag_at] == "_" and _CONLLU[tag_at] not in _MAY_BE_MISSING:
            raise CorpusError(
                f"{where}: {shown(fields[at])} has no {_CONLLU[tag_at]}",
                "leave the sentence out, or name another column with --tag-column",
            )
        words.append(fields[at])
        tags.append(fields[tag_at])
        numbers.append(number)


def _name(given: str, path: Path) -> str:
    name = given.strip().lower()
    if name not in _CONLLU:
        raise UsageError(f"no column {shown(given)} in {path}", did_you_mean(name, _CONLLU))
    return name


def _words_in_rows(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[Found]:
    """The sentences of a CSV file with a word in each row and a column that numbers sentences.

    A row whose number is empty belongs to the sentence of the row before it.
    """
    table = read_table(path, encoding, notices, header="yes")
    numbers = table.column(None, _NUMBERS, "the numbers of sentences")
    words = table.column(columns.words, ("word", "token", "words", "tokens"), "words")
    tags = table.column(columns.tags, ("tag", *_TAGS), "tags")
    notices.append(f"words are column {shown(words)} and tags {shown(tags)} of {path}")
    before, split = "", None
    rows: list[tuple[str, str, str]] = []
    for next_split, (number, word, tag), where in table.rows(numbers, words, tags):
        if number not in ("", before):
            yield _sentence(rows, split, path)
            before, rows = number, []
        split = next_split
        rows.append((word.strip(), tag.strip(), where))
    yield _sentence(rows, split, path)


def _sentence(rows: list[tuple[str, str, str]], split: str | None, path: Path) -> Found:
    words, tags, places = zip(*rows, strict=True) if rows else ((), (), ())
    return Found(split, words, tags, str(path), places)


def _records(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[Found]:
    """The sentences of a table: words and a tag for each, or a text and spans in it."""
    table = read_table(path, encoding, notices)
    words = table.column(columns.words, _WORDS, "words")
    tags = table.column(columns.tags, _TAGS, "tags")
    notices.append(f"words are column {shown(words)} and tags {shown(tags)} of {path}")
    widened = 0
    for split, values, where in table.rows(words, tags):
        text, spans = values
        if isinstance(text, str) and isinstance(spans, list) and not _are_tags(spans):
            sentence, changed = _from_spans(text, spans, where)
            widened += changed
        else:
            sentence = [
                _strings(value, where, column)
                for value, column in zip(values, (words, tags), strict=True)
            ]
            if len(sentence[0]) != len(sentence[1]):
                raise CorpusError(
                    f"{where}: {len(sentence[1]):,} tags for {len(sentence[0]):,} words",
                    "each word needs a tag",
                )
        check_characters(" ".join(chain(*sentence)), where)
        yield Found(split, tuple(sentence[0]), tuple(sentence[1]), where)
    if widened:
        notices.append(f"widened {counted(widened, 'span')} of {path} to whole words")


def _are_tags(values: list[Any]) -> bool:
    return any(isinstance(value, str | int) for value in values)


def _strings(values: Any, where: str, column: str) -> list[str]:
    """Words or tags: a list of them, or a text with spaces between them; numbers are tags too."""
    if isinstance(values, str):
        return values.split()
    if not isinstance(values, list) or not all(
        isinstance(value, str | int) and not isinstance(value, bool) for value in values
    ):
        raise CorpusError(
            f"{where}: {shown(column)} is {shown(values)}, not a list of strings",
            "write a list of words and a list of tags, or name other columns",
        )
    return list(map(str, values))


def _from_spans(text: str, spans: list[Any], where: str) -> tuple[list[list[str]], int]:
    """Words between spaces and their tags, and the number of spans that end inside a word."""
    places = word_places(text)
    starts, ends = [place[0] for place in places], [place[1] for place in places]
    tags, widened = ["O"] * len(places), 0
    for span in spans:
        match span:
            case {"start": int(start), "end": int(end), "label": str(label)}:
                pass
            case [int(start), int(end), str(label)]:
                pass
            case _:
                start, end, label = 0, 0, ""
        # The words that end after the start of the span and start before its end.
        inside = range(bisect_right(ends, start), bisect_left(starts, end))
        if not (inside and 0 <= start < end <= len(text)):
            raise CorpusError(
                f"{where}: {shown(span)} is not a span of words in the text",
                "a span has a start, an end (in characters from 0) and a label",
            )
        if any(tags[i] != "O" for i in inside):
            raise CorpusError(
                f"{where}: {shown(span)} overlaps another span", "a word is in one span at most"
            )
        for i in inside:
            tags[i] = f"{'I' if i > inside[0] else 'B'}-{label}"
        widened += (starts[inside[0]], ends[inside[-1]]) != (start, end)
    return [[text[slice(*place)] for place in places], tags], widened
