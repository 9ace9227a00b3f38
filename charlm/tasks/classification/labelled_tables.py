"""Labelled texts in one file: CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES, read_gzip
from charlm.corpus.text import decode, reading
from charlm.errors import CorpusError, did_you_mean, shown
from charlm.tasks.classification.labelled_files import SPLIT_CALLED, Found

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")  # the suffixes of tables; ``.gz`` may follow

_TEXTS = ("text", "review", "sentence", "content", "comment")
_LABELS = ("label", "sentiment", "class", "category", "target", "stars")
_MAX_LINES = 10**7
_LISTED = 30  # columns named in a hint
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")

Record: TypeAlias = tuple[int, Mapping[str, Any]]  # first line of a row, and values by column


def read_table(
    path: Path,
    encoding: str | None,
    notices: list[str],
    *,
    text_column: str | None,
    label_column: str | None,
) -> Iterator[Found]:
    """The texts of a table in order, one per row or object.

    A column of None is the first that exists of `_TEXTS` or `_LABELS`, in upper or lower case.

    Raises:
        CorpusError: the table cannot be read, is not text, is damaged, or lacks a column.
    """
    name = path.name.lower().removesuffix(".gz")
    with reading(path):
        if path.suffix.lower() == ".gz":
            raw = read_gzip(path)
        else:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise CorpusError(f"{path} is larger than {MAX_BYTES >> 30} GiB", "use a part of it")
    text = decode(raw, path, encoding).lstrip("\ufeff")
    del raw
    if name.endswith((".csv", ".tsv")):
        columns, records = _csv(text, path, notices, tabs=name.endswith(".tsv"))
    else:
        columns, records = _json_lines(text, path)
    if not columns:
        raise CorpusError(f"{path} is empty", "name a file with labelled texts")
    texts = _column(columns, text_column, _TEXTS, "texts", path)
    labels = _column(columns, label_column, _LABELS, "labels", path)
    if texts == labels:
        raise CorpusError(
            f"column {shown(texts)} of {path} cannot be both texts and labels",
            "name two different columns",
        )
    splits = next((column for column in columns if column.strip().casefold() == "split"), None)
    notices.append(f"texts are column {shown(texts)} and labels {shown(labels)} of {path}")
    for line, record in records:
        where = f"{path}, line {line:,}"
        for column in (texts, labels, splits):
            if column is not None and column not in record:
                hint = _known_columns(column, list(record))
                raise CorpusError(f"{where}: no key {shown(column)}", hint)
        text = record[texts]
        if not isinstance(text, str):
            raise CorpusError(
                f"{where}: {shown(texts)} is {shown(text)}, not a string",
                "write a string, or name another column of texts",
            )
        split = None if splits is None else _split(record[splits], where)
        yield Found(split, _label(record[labels], where), text, where)


def _column(
    columns: Sequence[str], given: str | None, usual: Sequence[str], what: str, path: Path
) -> str:
    """The column of the given name, or of the first usual name that exists."""
    if given is None:
        by_name = [[c for c in columns if c.strip().casefold() == name] for name in usual]
        found = next(filter(None, by_name), [])
        missing = f"no column of {what} in {path}: none is called {', '.join(usual)}"
    else:
        found = [column for column in columns if column.strip() == given.strip()]
        missing = f"no column {shown(given)} in {path}"
    if not found:
        hint = _known_columns(usual[0] if given is None else given, columns)
        raise CorpusError(missing, f"name the column of {what}; {hint}")
    if len(found) > 1:
        raise CorpusError(
            f"{len(found)} columns of {path} are called {shown(found[0])}", "rename all but one"
        )
    return found[0]


def _known_columns(name: str, columns: Sequence[str]) -> str:
    """The hint for an unknown column, short even if a damaged file has many or long names."""
    return did_you_mean(name[:40], [shown(column[:40])[1:-1] for column in columns[:_LISTED]])


def _split(value: object, where: str) -> str:
    split = SPLIT_CALLED.get(value.strip().casefold()) if isinstance(value, str) else None
    if split is None:
        raise CorpusError(
            f"{where}: {shown(value)} is not a split", f"known: {', '.join(SPLIT_CALLED)}"
        )
    return split


def _label(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bool | int | float):
        raise CorpusError(
            f"{where}: {shown(value)} is not a label",
            "a label is a string, a number, true or false",
        )
    return json.dumps(value)


def _lines(text: str, path: Path) -> Iterator[str]:
    """The lines of a text. str.splitlines would also split at characters that JSON may contain."""
    for number, found in enumerate(_LINE.finditer(text), start=1):
        if number > _MAX_LINES:
            raise CorpusError(f"{path} has more than {_MAX_LINES:,} lines", "use a part of it")
        line = found[0]
        if len(line) > MAX_FILE_BYTES:
            raise CorpusError(
                f"{path}, line {number:,} is longer than {MAX_FILE_BYTES:,} characters",
                "shorten it, or leave it out",
            )
        yield line


def _csv(
    text: str, path: Path, notices: list[str], *, tabs: bool
) -> tuple[list[str], Iterator[Record]]:
    """The columns of the header, and the rows."""
    head = next(filter(str.strip, _lines(text, path)), "")
    delimiter = "\t" if tabs else max(",;\t", key=head.count)
    try:
        rows = _rows(text, path, delimiter, csv.QUOTE_MINIMAL)
    except CorpusError:
        # Many TSV files do not use quoting, but have quotation marks in their texts.
        if not tabs or '"' not in text:
            raise
        rows = _rows(text, path, delimiter, csv.QUOTE_NONE)
        notices.append(f"{path} is not quoted as CSV: its quotation marks are part of the texts")
    columns = rows[0][1] if rows else []
    return columns, ((line, dict(zip(columns, row, strict=True))) for line, row in rows[1:])


def _rows(
    text: str, path: Path, delimiter: str, quoting: Literal[0, 3]
) -> list[tuple[int, list[str]]]:
    """The rows without blank ones, with the numbers of their first lines."""
    reader = csv.reader(_lines(text, path), delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            raise CorpusError(
                f"{path}, line {line:,}: not CSV: {error}",
                "quote texts that contain a comma, a quotation mark or a line end; "
                "a field of JSON lines (.jsonl) may be longer",
            ) from error
        if row and rows and len(row) != len(rows[0][1]):
            raise CorpusError(
                f"{path}, line {line:,} has {len(row):,} fields, "
                f"but the header has {len(rows[0][1]):,}",
                "quote texts that contain a comma, a quotation mark or a line end",
            )
        if row:
            rows.append((line, row))


def _json_lines(text: str, path: Path) -> tuple[list[str], Iterator[Record]]:
    """The keys of the first object, and all objects."""
    records = _objects(text, path)
    first = next(records, None)
    return ([], records) if first is None else (list(first[1]), chain([first], records))


def _objects(text: str, path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(text, path), start=1):
        if line.isspace():
            continue
        where = f"{path}, line {number:,}"
        hint = 'write an object on each line, such as {"text": "...", "label": "..."}'
        try:
            record = json.loads(line.rstrip(), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at column {error.colno:,}"
            raise CorpusError(f"{where}: not JSON: {reason}", hint) from error
        except ValueError as error:  # NaN, infinity, or thousands of digits
            raise CorpusError(f"{where}: not JSON: invalid number", hint) from error
        except RecursionError as error:
            raise CorpusError(f"{where}: nested too deeply", hint) from error
        if not isinstance(record, dict):
            raise CorpusError(f"{where}: {shown(record)} is not an object", hint)
        yield number, record


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
