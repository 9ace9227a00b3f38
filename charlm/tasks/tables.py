"""Tables of examples, for classification and tagging: CSV, TSV, JSON, JSON lines and parquet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from charlm.corpus.archives import MAX_BYTES, gzip_blocks
from charlm.corpus.text_files import decode, reading
from charlm.errors import CorpusError, UsageError
from charlm.tasks.csv_tables import read_csv
from charlm.tasks.data_table import SPLIT_CALLED, DataTable, too_large
from charlm.tasks.json_tables import read_json
from charlm.tasks.parquet_tables import read_parquet

TABLE_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""The suffixes of tables; ``.gz`` may follow."""

_SHARD = re.compile(r"-\d+-of-\d+$")


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
        return read_parquet(path)
    with reading(path):
        if path.suffix.lower() == ".gz":
            raw = b"".join(gzip_blocks(path))
        else:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise too_large(path)
    text = decode(raw, path, encoding).lstrip("\ufeff")
    del raw
    if is_csv:
        return read_csv(text, path, notices, name.endswith(".tsv"), header, names)
    return read_json(text, path)


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
