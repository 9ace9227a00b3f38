"""A run's files: written whole or not at all, and JSON that every reader takes for the same."""

from __future__ import annotations

import errno
import json
import os
import socket

import pytest

from charlm.errors import RunError
from charlm.runs import files
from charlm.runs.files import (
    decode_json,
    decode_lines,
    encode_json,
    encode_lines,
    read_file,
    read_json,
    write_file,
    write_json,
)

KINDS = {"a": (int,), "text": (str, type(None))}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.json"


# Writing


@pytest.mark.parametrize("failing", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"the old one", None])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    path, monkeypatch, one_line, failing, old
):
    if old is not None:
        path.write_bytes(old)

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(RunError) as caught:
            write_file(path, b"the new one")
    assert one_line(caught.value) == f"cannot write {path}: No space left on device"
    assert caught.value.exit_code == 1
    assert "untouched" in caught.value.hint
    assert [file.read_bytes() for file in path.parent.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("name", ["missing/a.bin", "file/a.bin", "a" * 300, "folder"])
def test_a_place_that_cannot_be_written_to(tmp_path, one_line, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError) as caught:
        write_file(tmp_path / name, b"new")
    assert one_line(caught.value).startswith(f"cannot write {tmp_path / name}: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


# Reading


def test_a_file_is_read_up_to_a_size(path, one_line):
    for data in (b"", b"\0\r\n\x1a\xff" * 1000):
        path.write_bytes(data)
        assert read_file(path, len(data)) == data
    with pytest.raises(RunError) as caught:
        read_file(path, 4999)
    expected = f"{path} is damaged: it has 5,000 bytes, more than 4,999"
    assert one_line(caught.value) == expected


def test_a_giant_file_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # as a hole: it takes no room
    with pytest.raises(RunError, match=r"has 1,099,511,627,776 bytes"):
        read_file(path, 2**20)


@pytest.mark.skipif(os.name == "nt", reason="needs named pipes, links and devices")
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "loop", "device", "missing"])
def test_what_is_no_file_is_refused_at_once(path, one_line, kind):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        bound = socket.socket(socket.AF_UNIX)
        os.chdir(path.parent)  # the address of a socket has to be short
        bound.bind(path.name)
        bound.close()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(RunError) as caught:
        read_file(path, 2**20)
    assert str(path) in one_line(caught.value)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


# JSON


@pytest.mark.parametrize(
    "content",
    [
        {}, [], None, 1.5, True, -0.0, 5e-324, 1.7976931348623157e308, 2**63 - 1, -(2**63) + 1,
        {"分开": ["é", 1, None, True, {"a": [0.1 + 0.2]}]}, "\0\x85\u2028", {"": {"": []}},
    ],
)  # fmt: skip
def test_json_round_trip(path, content):
    write_json(path, content)
    assert repr(read_json(path)) == repr(content)
    assert path.read_bytes().endswith(b"\n")


def test_json_is_for_people_too(path):
    write_json(path, {"prefix": "分开"})
    assert path.read_text("utf-8") == '{\n  "prefix": "分开"\n}\n'


def test_json_with_what_utf8_cannot_hold(path):
    """File names and words of the command line may have bytes that are no UTF-8."""
    content = {"source": os.fsdecode(b"\xff\xfe.txt"), "prefix": "\ud800 😀"}
    write_json(path, content)
    assert read_json(path) == content


def test_what_json_has_no_number_for_is_null(path):
    write_json(path, {"perplexity": float("inf"), "rows": [float("nan"), 1.5]})
    assert json.loads(path.read_text()) == {"perplexity": None, "rows": [None, 1.5]}


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b'{"a": 1', b'{"a": 1}}', b"[1,]", b"{'a': 1}", b"\xef\xbb\xbf{}",
        b"\xff\xfe", b'"\xed\xa0\x80"', b"\0" * 20, b"{}\0", b"[" * 100_000, b"1" * 5000,
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_not_json(path, one_line, data):
    path.write_bytes(data)
    with pytest.raises(RunError) as caught:
        read_json(path)
    assert one_line(caught.value) == f"{path} is damaged: it is not JSON"


@pytest.mark.parametrize(
    "data",
    [
        b"NaN", b"[Infinity]", b"[-Infinity]", b"1e999", b"-1e999", b"9223372036854775808",
        b"-9223372036854775808", b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "c": 2, "\\u0061": 3}}',
    ],
)  # fmt: skip
def test_json_that_not_all_readers_take_for_the_same(path, one_line, data):
    with pytest.raises(RunError) as caught:
        decode_json(data, path)
    assert one_line(caught.value).startswith(f"{path} is damaged: ")


def test_json_of_nothing_but_brackets_takes_no_memory(path):
    with pytest.raises(RunError, match="is damaged"):
        decode_json(b"[" + b"{}," * 3_000_000 + b"{}]", path)


def test_missing_json(path, one_line):
    with pytest.raises(RunError) as caught:
        read_json(path)
    assert one_line(caught.value) == f"cannot read {path}: No such file or directory"


# Lines


def test_lines_round_trip(path):
    rows = [{"a": 1, "text": "分\n\r\x85\u2028\u2029\x0b\x1c\x1e😀\ud800"}, {"a": 0, "text": None}]
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
        b"", b"{", b"5", b"[]", b"\0", b"[" * 100_000, b"null", b"{}", b'{"a": 1}',
        b'{"a": 1, "text',
        b'{"a": 1, "text": "x", "more": 1}', b'{"a": "1", "text": "x"}', b'{"a": 1.0, "text": "x"}',
        b'{"a": true, "text": "x"}', b'{"a": -1, "text": "x"}', b'{"a": null, "text": "x"}',
        b'{"a": 1, "text": 1}', b'{"a": 1, "text": "\xff"}', b'{"a": 1, "a": 1, "text": "x"}',
    ],
    ids=range(19),
)  # fmt: skip
def test_a_line_that_is_none_of_ours(path, one_line, line):
    whole = encode_json({"a": 1, "text": "x"})
    for data in (whole + line + b"\n", line + b"\n" + whole):
        with pytest.raises(RunError) as caught:
            decode_lines(data, path, KINDS)
        assert one_line(caught.value).startswith(f"{path} is damaged: ")


def test_lines_that_are_cut_off_anywhere_but_at_an_end(path):
    data = encode_lines([{"a": number, "text": "x"} for number in range(3)])
    ends = [number + 1 for number, byte in enumerate(data) if byte == ord("\n")]
    for size in range(1, len(data)):
        if size in ends:
            assert len(decode_lines(data[:size], path, KINDS)) == ends.index(size) + 1
            continue
        with pytest.raises(RunError, match="is damaged"):
            decode_lines(data[:size], path, KINDS)


def test_of_more_lines_than_can_be_read_the_newest_are_kept(path, monkeypatch):
    rows = [{"a": number, "text": "x" * number} for number in range(100)]
    lines = [encode_json(row) for row in rows]
    for most in (0, 1, 200, sum(map(len, lines[40:])), sum(map(len, lines))):
        monkeypatch.setattr(files, "MAX_LINES", most)
        data = encode_lines(rows)
        kept = data.count(b"\n")
        assert data == b"".join(lines[100 - kept :])
        assert len(data) <= most
        assert kept == 100 or len(data) + len(lines[99 - kept]) > most
