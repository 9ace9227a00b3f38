from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path

import pytest

from charlm.corpus import read_text
from charlm.errors import CorpusError

CHINESE = (
    "夜里的火车慢慢开进了小站\n窗外下着雨没有人说话\n他把信放回口袋，望着灯光\n天亮前还要走很远\n"
)


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refusal(source: str | Path, **options: str) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        read_text(source, **options)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.hint
    return caught.value


def test_plain_file(tmp_path):
    file = write(tmp_path / "My novel, part 2.txt", CHINESE)
    for source in (file, str(file)):
        found = read_text(source)
        assert found.text == CHINESE
        assert found.name == "My-novel-part-2"
        assert found.sha256 == hashlib.sha256(CHINESE.encode()).hexdigest()
        assert found.notices == ()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("v1.2.txt", "v1-2"),
        ("app.log", "app"),
        ("书.txt", "书"),
        ("...", "text"),
        ("a" * 99, "a" * 40),
    ],
)
def test_short_names(tmp_path, file, name):
    assert read_text(write(tmp_path / file, "text")).name == name


def test_line_ends_and_byte_order_mark_are_noticed(tmp_path):
    raw = b"\xef\xbb\xbfa\r\nb\r\r\nc\n"
    found = read_text(write(tmp_path / "a.txt", raw))
    assert found.text == "a\nb\n\nc\n"
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert found.notices == (
        "removed a byte order mark at the start of 1 file",
        "changed line ends to \\n: 2 \\r\\n and 1 \\r",
    )


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CHINESE.encode())))
    found = read_text("-")
    assert (found.text, found.name) == (CHINESE, "stdin")
    monkeypatch.setattr(sys, "stdin", None)
    assert "closed" in refusal("-").message


def test_folder(tmp_path):
    books = tmp_path / "books"
    write(books / "b.txt", "\ufeffsecond")
    write(books / "a" / "z.md", "first")
    write(books / "c.TXT", "third\r\n")
    write(books / "empty.txt", "")
    write(books / "cover.png", b"\x89PNG")
    write(books / ".hidden.txt", "no")
    write(books / ".git" / "notes.txt", "no")
    found = read_text(books)
    assert found.text == "first\nsecond\nthird\n"
    assert found.name == "books"
    assert found.notices[0] == f"read 4 files of folder {books}, skipped 1 (1 .png)"
    assert len(found.notices) == 3
    # Where one file ends and the next begins is part of the hash.
    write(books / "b.txt", "\ufeffsecon")
    write(books / "c.TXT", "dthird\r\n")
    assert read_text(books).sha256 != found.sha256


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_all_byte_order_marks_at_the_start_are_removed(tmp_path, encoding):
    """Whether or not the encoding takes one of them away by itself."""
    file = write(tmp_path / "a.txt", "\ufeff\ufeffa\ufeffb")
    assert read_text(file, encoding=encoding).text == "a\ufeffb"
    assert read_text(file).text == "a\ufeffb"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_odd_paths(tmp_path):
    assert "cannot read" in refusal("a\0b").message
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in refusal(tmp_path / "pipe.txt").message
    write(tmp_path / "a.txt", "text")
    assert read_text(tmp_path).text == "text"


def test_wrong_byte_is_named_and_the_encoding_guessed(tmp_path):
    file = write(tmp_path / "a.txt", b"ascii\n" + (CHINESE * 5).encode("gb18030"))
    error = refusal(file)
    assert "is not UTF-8: byte 0xc0 at byte offset 8, line 2" in error.message
    assert error.hint == "looks like gb18030: try --encoding gb18030"
    assert read_text(file, encoding="gb18030").text == "ascii\n" + CHINESE * 5


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Über den Wolken muß die Freiheit groß sein. Alle Ängste bleiben darunter.\n"),
        ("cp1251", "Поезд медленно вошёл на маленькую станцию. За окном шёл дождь.\n"),
        ("big5", "夜裡的火車慢慢開進了小站，窗外下著雨沒有人說話\n"),
    ],
)
def test_the_encoding_that_is_guessed_gives_the_text(tmp_path, encoding, text):
    file = write(tmp_path / "a.txt", (text * 5).encode(encoding))
    guess = refusal(file).hint.rpartition(" ")[2]
    assert read_text(file, encoding=guess).text == text * 5


def test_one_strange_byte_in_a_long_line(tmp_path):
    error = refusal(write(tmp_path / "a.txt", b"word " * 100_000 + b"caf\xe9 " + b"word " * 10))
    assert "offset 500,003" in error.message
    assert "--encoding" in error.hint


def test_given_encoding_that_does_not_fit(tmp_path):
    error = refusal(write(tmp_path / "a.txt", CHINESE), encoding="ascii")
    assert "is not ascii: byte 0xe5 at byte offset 0, line 1" in error.message
