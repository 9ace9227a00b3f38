"""Files of a run: atomic writes, reads with a size limit, and strict JSON."""

from __future__ import annotations

import errno
import json
import os
import socket

import pytest

from charlm.errors import RunError
from charlm.runs import files
from charlm.runs.files import (
    decode_lines,
    encode_json,
    encode_lines,
    read_file,
    read_json,
    write_file,
    write_json,
)

KINDS = {"a": (int,), "text": (str, type(None))}
LINE_ENDS = (
    "分\n\r\x85\u2028\u2029\x0b\x1c\x1e😀\ud800"  # for str.splitlines, but not in JSON lines
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.json"


@pytest.fixture
def damaged(path, one_line):
    """A function that checks that reading fails, and returns the message."""

    def check(read, *arguments):
        with pytest.raises(RunError) as caught:
            read(*arguments)
        message = one_line(caught.value)
        assert message.startswith(f"{path} is damaged: ")
        return message

    return check


# Writing


@pytest.mark.parametrize("old", [b"old", None])
def test_full_disk_is_one_line_and_keeps_the_old_file(path, monkeypatch, one_line, old):
    if old is not None:
        path.write_bytes(old)

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(RunError) as caught:
            write_file(path, b"new")
    assert one_line(caught.value) == f"cannot write {path}: No space left on device"
    assert caught.value.exit_code == 1
    assert "earlier checkpoints are unchanged" in caught.value.hint
    assert [file.read_bytes() for file in path.parent.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin", "a" * 300, "folder"])
def test_path_that_cannot_be_written_to(tmp_path, one_line, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        write_file(tmp_path / name, b"new")
    assert one_line(caught.value).startswith(f"cannot write {tmp_path / name}: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


# Reading


def test_file_is_read_up_to_the_size_limit(path, damaged):
    for data in (b"", b"\0\r\n\x1a\xff" * 1000):
        path.write_bytes(data)
        assert read_file(path, len(data)) == data
    assert damaged(read_file, path, 4999).endswith("it has 5,000 bytes, more than 4,999")
    with path.open("wb") as file:
        file.truncate(2**40)  # a sparse file
    assert "has 1,099,511,627,776 bytes" in damaged(read_file, path, 2**20)


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes, links and devices")
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "loop", "device", "missing"])
def test_path_that_is_not_a_regular_file_is_refused_at_once(path, one_line, open_files, kind):
    before = open_files()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        bound = socket.socket(socket.AF_UNIX)
        os.chdir(path.parent)  # the address of a socket must be short
        bound.bind(path.name)
        bound.close()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(RunError) as caught:
        read_file(path, 2**20)
    assert str(path) in one_line(caught.value)
    assert open_files() == before


# JSON


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        None,
        1.5,
        True,
        -0.0,
        5e-324,
        1.7976931348623157e308,
        2**63 - 1,
        -(2**63) + 1,
        {"分开": ["é", 1, None, True, {"a": [0.1 + 0.2]}]},
        "\0\x85\u2028",
        {"": {"": []}},
        {"source": os.fsdecode(b"\xff\xfe.txt"), "prefix": "\ud800 😀"},  # not valid UTF-8
    ],
)
def test_json_round_trip(path, content):
    write_json(path, content)
    assert repr(read_json(path)) == repr(content)


def test_json_is_indented_and_not_ascii(path):
    write_json(path, {"prefix": "分开"})
    assert path.read_text("utf-8") == '{\n  "prefix": "分开"\n}\n'


def test_infinity_and_nan_are_written_as_null(path):
    write_json(path, {"perplexity": float("inf"), "rows": [float("nan"), 1.5]})
    assert json.loads(path.read_text()) == {"perplexity": None, "rows": [None, 1.5]}


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b'{"a": 1',
    b'{"a": 1}}',
    b"[1,]",
    b"{'a': 1}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe",
    b'"\xed\xa0\x80"',
    b"\0" * 20,
    b"{}\0",
    b"[" * 100_000,
    b"1" * 5000,
]
AMBIGUOUS = [
    b"NaN",
    b"[Infinity]",
    b"[-Infinity]",
    b"1e999",
    b"-1e999",
    b"9223372036854775808",
    b"-9223372036854775808",
    b'{"a": 1, "a": 1}',
    b'{"b": {"a": 1, "c": 2, "\\u0061": 3}}',
]
BRACKETS = b"[" + b"{}," * 3_000_000 + b"{}]"  # would take gigabytes of memory


@pytest.mark.parametrize("data", [*NOT_JSON, *AMBIGUOUS, BRACKETS], ids=lambda data: repr(data[:9]))
def test_json_that_is_refused(path, damaged, data):
    """Bytes that are not JSON, and JSON that programs read differently."""
    path.write_bytes(data)
    assert damaged(read_json, path).endswith("it is not JSON")


def test_missing_json(path, one_line):
    with pytest.raises(RunError) as caught:
        read_json(path)
    assert one_line(caught.value) == f"cannot read {path}: No such file or directory"


# JSON lines


def test_lines_round_trip(path):
    rows = [{"a": 1, "text": LINE_ENDS}, {"a": 0, "text": None}]
    data = encode_lines(rows)
    assert data.count(b"\n") == 2
    assert "分".encode() in data
    assert [json.loads(line) for line in data.split(b"\n")[:-1]] == rows
    assert decode_lines(data, path, KINDS) == rows
    assert encode_lines([]) == b""
    assert decode_lines(b"", path, KINDS) == []


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"5",
        b"[]",
        b"[" * 100_000,
        b"null",
        b"{}",
        b'{"a": 1}',
        b'{"a": 1, "text',
        b'{"a": 1, "text": "x", "more": 1}',
        b'{"a": "1", "text": "x"}',
        b'{"a": 1.0, "text": "x"}',
        b'{"a": true, "text": "x"}',
        b'{"a": -1, "text": "x"}',
        b'{"a": null, "text": "x"}',
        b'{"a": 1, "text": 1}',
        b'{"a": 1, "text": "\xff"}',
    ],
    ids=lambda line: repr(line[:40]),
)
def test_wrong_line_is_refused(path, damaged, line):
    right = encode_json({"a": 1, "text": "x"})
    for data in (right + line + b"\n", line + b"\n" + right):
        damaged(decode_lines, data, path, KINDS)


def test_lines_that_are_cut_off_inside_a_line_are_refused(path, damaged):
    data = encode_lines([{"a": number, "text": "x"} for number in range(3)])
    ends = [number + 1 for number, byte in enumerate(data) if byte == ord("\n")]
    for size in range(1, len(data)):
        if size in ends:
            assert len(decode_lines(data[:size], path, KINDS)) == ends.index(size) + 1
        else:
            damaged(decode_lines, data[:size], path, KINDS)


def test_oldest_lines_are_dropped_beyond_the_limit(path, monkeypatch):
    rows = [{"a": number, "text": "x" * number} for number in range(100)]
    lines = [encode_json(row) for row in rows]
    for most in (0, 1, 200, sum(map(len, lines[40:])), sum(map(len, lines))):
        monkeypatch.setattr(files, "MAX_LINES", most)
        data = encode_lines(rows)
        kept = data.count(b"\n")
        assert data == b"".join(lines[100 - kept :])
        assert len(data) <= most
        assert kept == 100 or len(data) + len(lines[99 - kept]) > most
