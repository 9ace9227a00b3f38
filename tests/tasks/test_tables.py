"""Tables: headers, lists of JSON objects, parquet, and the files of splits in a folder."""

from __future__ import annotations

import builtins
import json

import pytest

from charlm.errors import CorpusError, UsageError
from charlm.tasks.tables import read_table, split_files


def read(path, text, **options):
    path.write_text(text, "utf-8")
    table = read_table(path, None, [], **options)
    return table, [dict(record) for _, record in table.records]


# The header of a CSV file


@pytest.mark.parametrize(
    ("text", "header", "is_header"),
    [
        ("text,label\ntext,x\n", "auto", True),  # a known name, though it stands again
        ("good,pos\nfine,pos\n", "auto", False),  # pos stands again
        ("body,mood\ngood,pos\nfine,pos\n", "auto", True),
        ("a,\nb,\n", "auto", True),  # empty cells say nothing
        ("good,pos\nfine,pos\n", "yes", True),
        ("text,label\na,x\n", "no", False),
    ],
)
def test_first_row(tmp_path, text, header, is_header):
    table, rows = read(tmp_path / "a.csv", text, header=header, names={"text"})
    assert table.header == (None if header == "yes" else is_header)
    assert list(table.columns) == (text.splitlines()[0].split(",") if is_header else ["1", "2"])
    assert len(rows) == text.count("\n") - is_header


def test_only_csv_has_a_header(tmp_path):
    with pytest.raises(UsageError, match="is not CSV, so it has no header"):
        read(tmp_path / "a.json", '[{"a": 1}]', header="no")


# Lists of JSON objects


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_list_of_objects(tmp_path, name):
    text = '\n [ {"a": 1},\n\n{"a": "]\u2028"} \n,{"a":\n[]}\n]\n'
    path = tmp_path / name
    table, rows = read(path, text)
    assert rows == [{"a": 1}, {"a": "]\u2028"}, {"a": []}]
    places = [where for where, _ in read_table(path, None, []).records]
    assert places == [f"{path}, line {line}" for line in (2, 4, 5)]
    assert (table.columns, table.header) == (["a"], None)


def test_lines_of_objects_in_a_json_file(tmp_path):
    assert read(tmp_path / "a.json", '{"a": 1}\n{"a": 2}\n')[1] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("[]", "is empty"),
        ("[ ", "line 1: not JSON: Expecting value"),
        ('[{"a": 1}\n', "line 2: not JSON: no comma or ] here"),
        ('[{"a": 1}\n {"a": 2}]', "line 2: not JSON: no comma or ] here"),
        ('[{"a": 1},\n{"a": \n2,, "b": 3}]', "line 3: not JSON: .* column 3"),
        ('[{"a": 1},\n{"a": NaN}]', "line 2: not JSON: invalid number"),
        ('[{"a": 1},\n 7]', "line 2: 7 is not an object"),
        ('[{"a": 1}]\n[]', "there is more after the end of the list"),
        ('[{"a": ' + "[" * 100_000, "line 1: nested too deeply"),
        ('{"data": [{"a": 1},\n{"a": 2}]}', "line 1: not JSON"),
    ],
)
def test_damaged_lists(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message) as caught:
        read(tmp_path / "a.json", text)
    assert caught.value.hint


# Parquet


@pytest.fixture
def write_parquet():
    """A function that writes columns as parquet, with the names of labels as data sets do."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(path, columns, features=None):
        table = pyarrow.table(columns)
        if features is not None:
            about = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": about})
        parquet.write_table(table, path)
        return path

    return write


CLASSES = {"names": ["neg", "pos"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "tags", [{"feature": CLASSES, "_type": "Sequence"}, [CLASSES]], ids=["sequence", "list"]
)
def test_parquet_with_names_of_labels(tmp_path, write_parquet, tags):
    columns = {"text": ["a", "b"], "label": [1, 0], "tags": [[0, 1], []], "n": [5, 6]}
    features = {"text": {"dtype": "string"}, "label": CLASSES, "tags": tags, "n": {}}
    path = write_parquet(tmp_path / "a.parquet", columns, features)
    assert list(read_table(path, None, []).records) == [
        (f"{path}, row 1", {"text": "a", "label": "pos", "tags": ["neg", "pos"], "n": 5}),
        (f"{path}, row 2", {"text": "b", "label": "neg", "tags": [], "n": 6}),
    ]


@pytest.mark.parametrize("metadata", [None, {}, {"label": 3}, {"label": {"names": 4}}])
def test_parquet_without_names(tmp_path, write_parquet, metadata):
    path = write_parquet(tmp_path / "a.parquet", {"label": [1]}, metadata)
    assert [record for _, record in read_table(path, None, []).records] == [{"label": 1}]


def test_parquet_with_a_number_that_has_no_name(tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", {"label": [1, -1]}, {"label": CLASSES})
    with pytest.raises(CorpusError, match="row 2: -1 is not the number of one of the 2 labels"):
        list(read_table(path, None, []).records)


def test_damaged_parquet(tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", {"text": ["some text " * 9, "b"] * 50})
    whole = path.read_bytes()
    read_rows = 0
    for end in range(0, len(whole), 37):
        for damaged in (whole[:end], whole[:end] + b"\xff\xff" + whole[end + 2 :]):
            path.write_bytes(damaged)
            try:
                read_rows += len(list(read_table(path, None, []).records))
            except CorpusError as error:
                assert error.hint  # noqa: PT017 - some changes are not noticed
    write_parquet(path, {"text": []})
    with pytest.raises(CorpusError, match="is empty"):
        read_table(path, None, [])


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    def refuse(name, *args, **more):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *args, **more)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(CorpusError, match="charlm needs pyarrow") as caught:
        read_table(tmp_path / "a.parquet", None, [])
    assert caught.value.hint == 'pip install "charlm[parquet]"'


# The files of splits

SUFFIXES = (".conllu", ".csv", ".txt", "")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("train.csv test.csv notes.txt", {"train": "train.csv", "test": "test.csv"}),
        ("Train.CSV dev.csv.gz", {"train": "Train.CSV", "valid": "dev.csv.gz"}),
        ("x-ud-train.conllu x-ud-train.txt x-ud-dev.txt", {"train": "x-ud-train.conllu"}),
        ("eng.train eng.testa eng.testb eng.py train.py",
         {"train": "eng.train", "valid": "eng.testa", "test": "eng.testb"}),
        ("train.txt my-train.txt my-train.conllu", {"train": "train.txt"}),
        ("train-00001-of-00002.csv train-00000-of-00002.csv",
         {"train": "train-00000-of-00002.csv train-00001-of-00002.csv"}),
        ("train_test.csv training.csv constrain.csv", {"train": "training.csv"}),
        (".train.csv readme.txt", {}),
    ],
)  # fmt: skip
def test_files_of_splits(tmp_path, names, expected):
    for name in names.split():
        (tmp_path / name).touch()
    found = split_files(tmp_path, SUFFIXES)
    assert {split: " ".join(p.name for p in paths) for split, paths in found.items()} == expected


def test_two_files_for_a_split(tmp_path):
    for name in ("train.csv", "a-dev.csv", "b-dev.csv"):
        (tmp_path / name).touch()
    with pytest.raises(CorpusError, match=r"holds 2 files for valid: a-dev\.csv, b-dev\.csv"):
        split_files(tmp_path, SUFFIXES)
