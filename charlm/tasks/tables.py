"""Tables of examples, for classification and tagging: CSV, TSV, JSON, JSON lines and parquet."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias

from charlm.corpus.archives import MAX_BYTES, MAX_FILE_BYTES, gzip_blocks
from charlm.corpus.text_files import decode, reading
from charlm.errors import CorpusError, UsageError, did_you_mean, shown

TABLE_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""The suffixes of tables; ``.gz`` may follow."""

SPLIT_CALLED = {"train": "train", "training": "train", "test": "test", "testb": "test"}
SPLIT_CALLED |= dict.fromkeys(("valid", "validation", "val", "dev", "testa"), "valid")
"""The split, by the name of a folder or file, or by a value in a column ``split``."""

_MAX_LINES = 10**7
_LISTED = 30  # columns named in a hint
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_SPACE = re.compile(r"[ \t\r\n]*")
_SHARD = re.compile(r"-\d+-of-\d+$")

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
            by_name = [[c for c in self.columns if _plain(c) == name] for name in usual]
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
        splits = next((column for column in self.columns if _plain(column) == "split"), None)
        for where, record in self.records:
            try:
                values = [record[column] for column in columns]
                split = None if splits is None else _split(record[splits], where)
            except KeyError as error:
                missing = error.args[0]
                hint = _known_columns(missing, list(record))
                raise CorpusError(f"{where}: no key {shown(missing)}", hint) from None
            yield split, values, where


def is_table(path: Path) -> bool:
    """Whether a file of that name is a table."""
    return path.name.lower().removesuffix(".gz").endswith(TABLE_SUFFIXES)


def read_table(
    path: Path,
    encoding: str | None,
    notices: list[str],
    *,
    header: str = "auto",
    names: Collection[str] = (),
) -> DataTable:
    """A table, by the suffix of its name.

    Args:
        header: whether the first row of a CSV file gives the names of its columns: yes, no, or
            auto. auto: it does if it has one of ``names``, or if no value of it stands again in
            the same column.
        names: names of columns, in lower case.

    Raises:
        CorpusError: the table cannot be read, is not text, is empty or damaged. A damaged row
            raises it when it is reached.
        UsageError: ``header`` is not auto, and the format has no header.
    """
    name = path.name.lower().removesuffix(".gz")
    is_csv = name.endswith((".csv", ".tsv"))
    if header != "auto" and not is_csv:
        raise UsageError(f"{path} is not CSV, so it has no header", "leave --header out")
    if name.endswith(".parquet"):
        return _parquet(path)
    with reading(path):
        if path.suffix.lower() == ".gz":
            raw = b"".join(gzip_blocks(path))
        else:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise _too_large(path)
    text = decode(raw, path, encoding).lstrip("\ufeff")
    del raw
    if is_csv:
        return _csv(text, path, notices, name.endswith(".tsv"), header, names)
    is_list = text.startswith("[", _after_space(text))
    objects = (_list if is_list else _lines_of_json)(text, path)
    first = next(objects, None)
    if first is None:
        raise _empty(path)
    return DataTable(path=path, columns=list(first[1]), records=chain([first], objects))


def split_files(folder: Path, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """The files of a folder that are named after splits, such as ``train.csv``, by split.

    The name of a split stands in the name of the file between other marks than letters and
    digits: ``en_ewt-ud-train.conllu``, ``eng.testa``. All files have the same suffix, the first of
    ``suffixes`` that the train split has; a file that is called just ``train`` goes first. The
    parts of a split, ``train-00000-of-00002`` and so on, are in their order.

    Raises:
        CorpusError: the folder cannot be read, or several files are for one split.
    """
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    exact: set[Path] = set()
    with reading(folder):
        files = sorted(each for each in folder.iterdir() if each.is_file() and each.name[0] != ".")
    for path in files:
        name = path.name.casefold().removesuffix(".gz")
        suffix = next((suffix for suffix in suffixes if name.endswith(suffix)), None)
        words = re.split(r"[^a-z0-9]+", name.removesuffix(suffix or ""))
        splits = {SPLIT_CALLED[word] for word in words if word in SPLIT_CALLED}
        # A name without a known suffix ends in the name of the split.
        if suffix is None or len(splits) != 1 or not (suffix or words[-1] in SPLIT_CALLED):
            continue
        found[suffix][splits.pop()].append(path)
        if len(words) == 1:
            exact.add(path)
    if not found:
        return {}
    chosen = found[
        min(
            found,
            key=lambda suffix: (
                "train" not in found[suffix],
                not exact.intersection(found[suffix]["train"]),
                suffixes.index(suffix),
            ),
        )
    ]
    for split, paths in chosen.items():
        paths[:] = [path for path in paths if path in exact] or paths
        if len(paths) > 1 and len({_SHARD.sub("", path.stem) for path in paths}) > 1:
            some = ", ".join(path.name for path in paths[:3])
            raise CorpusError(
                f"{folder} holds {len(paths)} files for {split}: {some}",
                "keep one of them in the folder, or name a file",
            )
    return {split: paths for split, paths in chosen.items() if paths}


def _plain(column: str) -> str:
    return column.strip().casefold()


def _empty(path: Path) -> CorpusError:
    return CorpusError(f"{path} is empty", "name a file with labelled texts")


def _too_large(path: Path) -> CorpusError:
    return CorpusError(f"{path} is larger than {MAX_BYTES >> 30} GiB", "use a part of it")


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


# CSV


def _csv(
    text: str, path: Path, notices: list[str], tabs: bool, header: str, names: Collection[str]
) -> DataTable:
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
    if not rows:
        raise _empty(path)
    columns = rows[0][1]
    repeated = (any(row[i] == cell != "" for _, row in rows[1:]) for i, cell in enumerate(columns))
    known = any(_plain(column) in names for column in columns)
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
                f"but the first row has {len(rows[0][1]):,}",
                "quote texts that contain a comma, a quotation mark or a line end",
            )
        if row:
            rows.append((line, row))


# JSON


def _after_space(text: str, start: int = 0) -> int:
    found = _SPACE.match(text, start)
    assert found is not None
    return found.end()


def _lines_of_json(text: str, path: Path) -> Iterator[Record]:
    """The objects of a file with one on each line."""
    for number, line in enumerate(_lines(text, path), start=1):
        if not line.isspace():
            yield _record(_decoded(path, number, _JSON.decode, line.rstrip()), path, number)


def _list(text: str, path: Path) -> Iterator[Record]:
    """The objects of a file that is one list of them, decoded one by one to know their lines."""
    line, before, place = 1, 0, _after_space(text, text.index("[") + 1)
    while not text.startswith("]", place):
        line += text.count("\n", before, place)
        before = place
        value, place = _decoded(path, line, _JSON.raw_decode, text, place)
        yield _record(value, path, line)
        place = _after_space(text, place)
        if text.startswith(",", place):
            place = _after_space(text, place + 1)
        elif not text.startswith("]", place):
            line += text.count("\n", before, place)
            raise CorpusError(f"{path}, line {line:,}: not JSON: no comma or ] here", _OBJECTS)
    if _after_space(text, place + 1) != len(text):
        raise CorpusError(f"{path}: there is more after the end of the list", _OBJECTS)


def _decoded(path: Path, line: int, decode: Callable[..., Any], *text: Any) -> Any:
    where = f"{path}, line {line:,}"
    try:
        return decode(*text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {max(line, error.lineno):,}"
        reason = f"{error.msg} at column {error.colno:,}"
        raise CorpusError(f"{where}: not JSON: {reason}", _OBJECTS) from error
    except ValueError as error:  # NaN, infinity, or thousands of digits
        raise CorpusError(f"{where}: not JSON: invalid number", _OBJECTS) from error
    except RecursionError as error:
        raise CorpusError(f"{where}: nested too deeply", _OBJECTS) from error


def _record(value: Any, path: Path, line: int) -> Record:
    where = f"{path}, line {line:,}"
    if not isinstance(value, dict):
        raise CorpusError(f"{where}: {shown(value)} is not an object", _OBJECTS)
    return where, value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_OBJECTS = (
    "write an object for each example, on a line of its own or in a list, such as "
    '{"text": "...", "label": "..."}'
)


# Parquet


def _parquet(path: Path) -> DataTable:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise CorpusError(
            f"to read {path}, charlm needs pyarrow", 'pip install "charlm[parquet]"'
        ) from None
    failures = (ArrowException, OSError, ValueError)
    damaged = (f"{path} is not a parquet file, or it is damaged", "fetch or copy the file again")
    with reading(path):
        stream = path.open("rb")
    try:
        file = ParquetFile(stream)
        metadata, schema = file.metadata, file.schema_arrow
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    except failures as error:
        raise CorpusError(*damaged) from error
    if sum(group.total_byte_size for group in groups) > MAX_BYTES:
        raise _too_large(path)
    if not metadata.num_rows:
        raise _empty(path)
    names = {column: _class_names(schema.metadata, column) for column in schema.names}

    def records() -> Iterator[Record]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number:,}"
                    yield where, {key: _named(row[key], names[key], where) for key in row}
        except failures as error:
            raise CorpusError(*damaged) from error

    return DataTable(path=path, columns=schema.names, records=records())


def _class_names(metadata: Mapping[bytes, bytes] | None, column: str) -> list[str]:
    """The names of the numbers in a column, as a Hugging Face data set writes them; or none."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        feature = feature[0] if isinstance(feature, list) else feature
        return list(map(str, feature.get("feature", feature)["names"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        return []


def _named(value: Any, names: list[str], where: str) -> Any:
    """A number, or each number of a list, as its name."""
    if not names:
        return value
    if isinstance(value, list):
        return [_named(each, names, where) for each in value]
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise CorpusError(
            f"{where}: {shown(value)} is not the number of one of the {len(names):,} labels",
            "leave the examples without a label out",
        )
    return names[value]
