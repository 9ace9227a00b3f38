from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

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


def refusal(source: str | Path, **options: Any) -> CorpusError:
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


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def test_folder(tmp_path):
    books = tmp_path / "books"
    write(books / "b.txt", "\ufeffsecond")
    write(books / "a" / "z.pgn", "first")
    write(books / "c.HTML", "third\r\n")
    write(books / "d", "fourth\n")
    write(books / "empty.txt", "")
    write(books / "cover.png", PNG)
    write(books / ".hidden.txt", "no")
    for folder in (".git", "node_modules", "__pycache__", "run/checkpoint-000001"):
        write(books / "a" / folder / "notes.txt", "no")
    for file in ("run.json", "vocabulary.json"):
        write(books / "a" / "run" / file, "{}")
    found = read_text(books)
    assert found.text == "first\nsecond\nthird\nfourth\n"
    assert found.name == "books"
    read = f"read 5 files of folder {books}, skipped 1: 1 PNG image (cover.png)"
    assert found.notices[0] == read
    assert len(found.notices) == 3
    assert found.warnings == ()
    # Where one file ends and the next begins is part of the hash.
    write(books / "b.txt", "\ufeffsecon")
    write(books / "c.HTML", "dthird\r\n")
    assert read_text(books).sha256 != found.sha256


def test_folder_of_which_most_is_no_text_or_some_is_in_another_encoding(tmp_path):
    write(tmp_path / "a.txt", "text")
    for number in range(4):
        write(tmp_path / f"{number}.png", PNG)
    with zipfile.ZipFile(tmp_path / "b.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    found = read_text(tmp_path)
    assert found.text == "text"
    assert found.warnings == (
        f"read 1 file of folder {tmp_path}, skipped 5: 4 PNG images (0.png, 1.png, 2.png, ...), "
        "1 Word document (b.docx)",
    )
    other = tmp_path / "other"
    for name in ("a", "b", "c"):
        write(other / f"{name}.txt", "text")
    assert read_text(other).warnings == ()
    write(other / "d.txt", "Käse und Brötchen für alle Gäste".encode("cp1252"))
    found = read_text(other)
    assert found.text == "text\ntext\ntext"
    assert "skipped 1: 1 not UTF-8 (d.txt)" in found.warnings[0]
    # Each file that can be read in the given encoding is.
    assert read_text(other, encoding="cp1252").text.endswith("alle Gäste")


def test_folder_with_nothing_to_read(tmp_path):
    error = refusal(tmp_path)
    assert error.message == f"no text file in folder {tmp_path}: skipped none"
    write(tmp_path / "a.png", PNG)
    assert "skipped 1: 1 PNG image (a.png)" in refusal(tmp_path).message
    write(tmp_path / "b.txt", (CHINESE * 5).encode("gb18030"))
    error = refusal(tmp_path)
    assert "skipped 2: 1 PNG image (a.png), 1 not UTF-8 (b.txt)" in error.message
    assert error.hint.startswith("try --encoding gb18030 ('夜里")


@pytest.mark.parametrize(
    ("glob", "files"),
    [
        ("*.py", "a.PY lib/b.py lib/deep/c.py"),
        ("**/*.py", "a.PY lib/b.py lib/deep/c.py"),
        ("lib/*.py", "lib/b.py lib/deep/c.py"),
        ("lib/**/*.py", "lib/b.py lib/deep/c.py"),
        ("./lib/b.py", "lib/b.py"),
        ("b.*", "lib/b.py"),
        ("deep", "lib/deep/c.py lib/deep/notes.md"),
        ("LIB/deep/", "lib/deep/c.py lib/deep/notes.md"),
        ("*", "a.PY lib/b.py lib/deep/c.py lib/deep/notes.md"),
        ("[!a]*", "lib/b.py lib/deep/c.py lib/deep/notes.md"),
    ],
)
def test_globs(tmp_path, glob, files):
    everything = ["a.PY", "lib/b.py", "lib/deep/c.py", "lib/deep/notes.md"]
    for name in everything:
        write(tmp_path / name, f"{name}\n")
    found = read_text(tmp_path, include=[glob])
    assert found.text.split() == files.split()
    assert found.warnings == ()
    others = [name for name in everything if name not in files.split()]
    if others:
        assert read_text(tmp_path, exclude=[glob]).text.split() == others
        assert f"left out {len(others)} file" in found.notices[0]


def test_globs_that_match_nothing(tmp_path):
    for name in ("a.txt", "b.txt", "c"):
        write(tmp_path / name, f"{name}\n")
    error = refusal(tmp_path, include=["*.py", "*.js"])
    assert error.message == f"no file in folder {tmp_path} is left after --include"
    assert error.hint == "the folder has 3 files: 2 with .txt, 1 with no suffix"
    error = refusal(tmp_path, include=["*.txt"], exclude=["?.*"])
    assert error.message == f"no file in folder {tmp_path} is left after --include and --exclude"
    found = read_text(tmp_path, include=["*.txt", "*.py"], exclude=["b.*", "drafts"])
    assert found.text == "a.txt\n"
    assert found.warnings == (
        f"no file in folder {tmp_path} matches --include '*.py' or --exclude 'drafts'",
    )


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
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    found = read_text(tmp_path)
    assert found.text == "text"
    assert "2 not regular (gone.txt, pipe.txt)" in found.warnings[0]


def test_wrong_byte_is_named_and_the_encoding_guessed(tmp_path):
    file = write(tmp_path / "a.txt", b"ascii\n" + (CHINESE * 5).encode("gb18030"))
    error = refusal(file)
    assert "is not UTF-8: byte 0xc0 at byte offset 8, line 2" in error.message
    assert error.hint.startswith("try --encoding gb18030 ('夜里的火车慢慢开进了小站', ")
    assert read_text(file, encoding="gb18030").text == "ascii\n" + CHINESE * 5


@pytest.mark.parametrize(
    ("raw", "encoding", "warned"),
    [
        ("café".encode(), "cp1252", True),
        (b"\xef\xbb\xbfcaf\xc3\xa9", "utf-8-sig", False),
        (b"caf\xe9", "cp1252", False),
        (b"plain", "cp1252", False),
        (b"abcd", "utf-16-le", True),
        ("abcd".encode("utf-16"), "utf-16", False),
        (CHINESE.encode("iso2022_jp", "ignore"), "iso2022_jp", False),
    ],
)
def test_utf8_read_in_another_encoding_is_a_warning(tmp_path, raw, encoding, warned):
    warnings = read_text(write(tmp_path / "a.txt", raw), encoding=encoding).warnings
    assert [f"was read as {encoding}, but it is valid UTF-8" in each for each in warnings] == (
        [True] if warned else []
    )


def test_one_strange_byte_in_a_long_line(tmp_path):
    error = refusal(write(tmp_path / "a.txt", b"word " * 100_000 + b"caf\xe9 " + b"word " * 10))
    assert "offset 500,003" in error.message
    assert error.hint.startswith("try --encoding cp1252 ('café')")
