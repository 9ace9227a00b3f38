"""Parquet, which needs the package pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from charlm.corpus.archives import MAX_BYTES
from charlm.corpus.text_files import reading
from charlm.errors import CorpusError, shown
from charlm.tasks.data_table import DataTable, Record, empty, too_large


def read_parquet(path: Path) -> DataTable:
    """The rows of a file; errors are those of `read_table`."""
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
        raise too_large(path)
    if not metadata.num_rows:
        raise empty(path)
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
