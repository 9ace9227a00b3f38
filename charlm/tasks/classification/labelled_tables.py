"""Labelled texts in a table, one in each row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from charlm.errors import CorpusError, shown
from charlm.tasks.classification.labelled_files import Found
from charlm.tasks.data_table import DataTable
from charlm.tasks.tables import read_table

_TEXTS = ("text", "review", "sentence", "content", "comment")
_LABELS = ("label", "sentiment", "class", "category", "target", "stars")


class Columns(NamedTuple):
    """How the user says what is in a table; None and auto: find out."""

    texts: str | None = None
    labels: str | None = None
    header: str = "auto"


USUAL = Columns()


def read_texts(
    path: Path, encoding: str | None, notices: list[str], columns: Columns
) -> Iterator[Found]:
    """The texts of a table in order.

    A column of None is the first that exists of `_TEXTS` or `_LABELS`, in upper or lower case. In
    a CSV file without a header, the labels are the column with the fewest distinct values, at
    least two, and the texts the longest of the others.

    Raises:
        CorpusError: the table cannot be read, is not text, is damaged, or lacks a column.
    """
    given = {name.strip().casefold() for name in columns[:2] if name and not name.isdecimal()}
    names = {*_TEXTS, *_LABELS, *given}
    table = read_table(path, encoding, notices, header=columns.header, names=names)
    if table.header is False:
        table, columns = _without_header(table, columns)
    texts = table.column(columns.texts, _TEXTS, "texts")
    labels = table.column(columns.labels, _LABELS, "labels")
    if texts == labels:
        raise CorpusError(
            f"column {shown(texts)} of {path} cannot be both texts and labels",
            "name two different columns",
        )
    first = "; its first row was taken for "
    about = {
        None: "",
        True: first + "a header (if not: --header no)",
        False: first + "a text (if not: --header yes)",
    }[table.header]
    notices.append(f"texts are column {shown(texts)} and labels {shown(labels)} of {path}{about}")
    for split, (text, label), where in table.rows(texts, labels):
        if not isinstance(text, str):
            raise CorpusError(
                f"{where}: {shown(texts)} is {shown(text)}, not a string",
                "write a string, or name another column of texts",
            )
        yield Found(split, _label(label, where), text, where)


def _without_header(table: DataTable, columns: Columns) -> tuple[DataTable, Columns]:
    """The table, to be read from its start, and its columns by their number."""
    records = list(table.records)
    values = {column: [record[column] for _, record in records] for column in table.columns}
    texts, labels, header = columns
    length = {column: sum(map(len, cells)) for column, cells in values.items()}
    distinct = {column: len(set(cells)) for column, cells in values.items()}
    if labels is None:
        few = [column for column in values if column != texts and distinct[column] > 1]
        labels = min(few, key=lambda column: (distinct[column], length[column]), default=None)
    if texts is None:
        texts = max(
            (column for column in values if column != labels), key=length.__getitem__, default=None
        )
    return dataclasses.replace(table, records=records), Columns(texts, labels, header)


def _label(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bool | int | float):
        raise CorpusError(
            f"{where}: {shown(value)} is not a label",
            "a label is a string, a number, true or false",
        )
    return json.dumps(value)
