from __future__ import annotations

import gzip
import hashlib
import re
import struct
import zipfile
from pathlib import Path

import pytest

from charlm.corpus import archives, read_text
from charlm.errors import CorpusError

TEXT = "a quick brown fox\njumps over it\n" * 5
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()


def pack(path: Path, members: dict[str, str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def refusal(path: Path) -> str:
    before = sorted(path.parent.iterdir())
    with pytest.raises(CorpusError) as caught:
        read_text(path)
    assert caught.value.hint
    assert sorted(path.parent.iterdir()) == before
    return caught.value.message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_with_one_text(tmp_path, method):
    members = {"../../etc/book.txt": TEXT, "cover.png": "x", "__MACOSX/._book.txt": "x"}
    found = read_text(pack(tmp_path / "fox.txt.zip", members, method))
    assert (found.text, found.name, found.sha256) == (TEXT, "fox", SHA256)
    assert [path.name for path in tmp_path.iterdir()] == ["fox.txt.zip"]


def test_zip_whose_only_file_has_no_suffix(tmp_path):
    """As enwik8.zip and text8.zip. A file with a text's suffix comes first."""
    assert read_text(pack(tmp_path / "text8.zip", {"text8": "anarchism"})).text == "anarchism"
    both = {"LICENSE": "none", "a.txt": "a text"}
    assert read_text(pack(tmp_path / "a.zip", both)).text == "a text"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_with_any_one_byte_changed_gives_the_text_or_is_refused(tmp_path, method):
    whole = pack(tmp_path / "whole.zip", {"书.txt": TEXT, "cover.png": "x"}, method).read_bytes()
    path = tmp_path / "a.zip"
    said = set()
    for place, byte in enumerate(whole):
        for other in {0, 255, byte ^ 1} - {byte}:
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            try:
                said.add(read_text(path).text)
            except CorpusError as error:
                said.add(re.sub(r".*a\.zip (?:holds )?(\w+ \w+).*", r"\1", error.message))
    # Not "cannot read": the file can be read, and is damaged.
    assert said <= {TEXT, "cannot be", "0 text", "is encrypted", "unpacks to"}
    assert said >= {TEXT, "cannot be", "is encrypted"}


def test_zip_with_another_compression(tmp_path):
    assert "neither deflate nor none" in refusal(
        pack(tmp_path / "a.zip", {"a.txt": TEXT}, zipfile.ZIP_BZIP2)
    )


def test_zip_that_lies_about_its_size(tmp_path):
    path = pack(tmp_path / "a.zip", {"a.txt": "a" * 1_000_000})
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(raw)
    assert "cannot be unpacked" in refusal(path)


def test_gzip(tmp_path):
    path = tmp_path / "fox.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    found = read_text(path)
    assert (found.text, found.name, found.sha256) == (TEXT, "fox", SHA256)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_gzip_damaged(tmp_path, damage):
    raw = gzip.compress(TEXT.encode())
    flipped = raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:]
    path = tmp_path / "a.gz"
    path.write_bytes({"cut": raw[:-12], "flipped": flipped, "not gzip": b"hello"}[damage])
    assert "cannot be unpacked" in refusal(path)


def test_gzip_that_unpacks_too_far(tmp_path, monkeypatch):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a" * 10_000_000))
    assert "1000 times" in refusal(path)
    path.write_bytes(gzip.compress(TEXT.encode()))
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    assert "unpacks to more than" in refusal(path)
