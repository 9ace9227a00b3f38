"""CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from charlm.errors import CorpusError
from charlm.tasks.data_table import DataTable, empty, plain, text_lines


def read_csv(
    text: str, path: Path, notices: list[str], tabs: bool, header: str, names: Collection[str]
) -> DataTable:
    """The rows of a text; arguments and errors are those of `read_table`."""
    head = next(filter(str.strip, text_lines(text, path)), "")
    delimiter = "\t" if tabs else max(",;\t", key=head.count)
    try:
        rows = _rows(text, path, delimiter, csv.QUOTE_MINIMAL)
    except CorpusError:
        # Many TSV files do not use quoting, but have quotation marks in their texts.
        if not tabs or '"' not in text:
            raise
        rows = _rows(text, path, delimiter, csv.QUOTE_NONE)
        notices.append(f"{path} is not quoted as CSV: its quotation marks are part of the texts")
    if not rows:
        raise empty(path)
    columns = rows[0][1]
    repeated = (any(row[i] == cell != "" for _, row in rows[1:]) for i, cell in enumerate(columns))
    known = any(plain(column) in names for column in columns)
    is_header = header == "yes" or (header == "auto" and (known or not any(repeated)))
    if is_header:
        rows = rows[1:]
    else:
        columns = [str(number) for number in range(1, len(columns) + 1)]
    records = (
        (f"{path}, line {line:,}", dict(zip(columns, row, strict=True))) for line, row in rows
    )
    told = None if header == "yes" else is_header
    return DataTable(path=path, columns=columns, records=records, header=told)


def _rows(
    text: str, path: Path, delimiter: str, quoting: Literal[0, 3]
) -> list[tuple[int, list[str]]]:
    """The rows without blank ones, with the numbers of their first lines."""
    reader = csv.reader(text_lines(text, path), delimiter=delimiter, quoting=quoting, strict=True)
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
                f"but the first row has {len(rows[0][1]):,}",
                "quote texts that contain a comma, a quotation mark or a line end",
            )
        if row:
            rows.append((line, row))
