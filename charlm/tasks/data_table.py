"""A table of examples: its columns and rows, whatever its format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES
from charlm.errors import CorpusError, did_you_mean, shown

SPLIT_CALLED = {"train": "train", "training": "train", "test": "test", "testb": "test"}
SPLIT_CALLED |= dict.fromkeys(("valid", "validation", "val", "dev", "testa"), "valid")
"""The split, by the name of a folder or file, or by a value in a column ``split``."""

_MAX_LINES = 10**7
_LISTED = 30  # columns named in a hint
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")

Record: TypeAlias = tuple[str, Mapping[str, Any]]  # the place, for a message; values by column


@dataclass(frozen=True, kw_only=True)
class DataTable:
    """The columns and rows of a table."""

    path: Path
    columns: Sequence[str]
    """Their names; numbers from 1 in a CSV file without a header."""
    records: Iterable[Record]
    header: bool | None = None
    """Whether the first row was taken for names; None: the format or the user says so."""

    def column(self, given: str | None, usual: Sequence[str], what: str) -> str:
        """The column of the given name, or of the first usual name that exists, in any case.

        Raises:
            CorpusError: there is none, or several.
        """
        if given is None:
            by_name = [[c for c in self.columns if plain(c) == name] for name in usual]
            found = next(filter(None, by_name), [])
            missing = f"no column of {what} in {self.path}: none is called {', '.join(usual)}"
        else:
            found = [column for column in self.columns if column.strip() == given.strip()]
            missing = f"no column {shown(given)} in {self.path}"
        if not found:
            hint = _known_columns(usual[0] if given is None else given, self.columns)
            hint = f"name the column of {what}; {hint}"
            if self.header:
                missing += "; its first row was taken for a header"
                hint += "; or give --header no if the first row is an example"
            raise CorpusError(missing, hint)
        if len(found) > 1:
            raise CorpusError(
                f"{len(found)} columns of {self.path} are called {shown(found[0])}",
                "rename all but one",
            )
        return found[0]

    def rows(self, *columns: str) -> Iterator[tuple[str | None, list[Any], str]]:
        """For each row its split, the values of some columns, and its place for a message.

        The split is the one in a column ``split``; None without such a column.

        Raises:
            CorpusError: a row lacks a column, or its split has another name.
        """
        splits = next((column for column in self.columns if plain(column) == "split"), None)
        for where, record in self.records:
            try:
                values = [record[column] for column in columns]
                split = None if splits is None else _split(record[splits], where)
            except KeyError as error:
                missing = error.args[0]
                hint = _known_columns(missing, list(record))
                raise CorpusError(f"{where}: no key {shown(missing)}", hint) from None
            yield split, values, where


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


def text_lines(text: str, path: Path) -> Iterator[str]:
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


def plain(column: str) -> str:
    """A name of a column for comparing: without space around it, in lower case."""
    return column.strip().casefold()


def empty(path: Path) -> CorpusError:
    """The error for a table without rows."""
    return CorpusError(f"{path} is empty", "name a file with labelled texts")


def too_large(path: Path) -> CorpusError:
    """The error for a table of more than ``MAX_BYTES``."""
    return CorpusError(f"{path} is larger than {MAX_BYTES >> 30} GiB", "use a part of it")
