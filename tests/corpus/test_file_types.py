from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import sys
import tarfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from charlm.corpus.file_types import file_type
from charlm.corpus.text import read_text
from charlm.corpus.text_files import decode
from charlm.errors import CorpusError

TEXT = b"Once upon a time there was a text.\n" * 20


def archive(*members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for member in members:
            file.writestr(member, TEXT)
    return stream.getvalue()


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def image(kind: str) -> bytes:
    return written(lambda stream: Image.new("RGB", (8, 8)).save(stream, kind))


def sound(stream: io.BytesIO) -> None:
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))


def tar(stream: io.BytesIO, mode: str = "w") -> None:
    with tarfile.open(fileobj=stream, mode=mode) as file:
        info = tarfile.TarInfo("a.txt")
        info.size = len(TEXT)
        file.addfile(info, io.BytesIO(TEXT))


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table a (b)")
    return connection.serialize()


def figure(kind: str) -> bytes:
    return written(lambda stream: plt.figure().savefig(stream, format=kind))


ODT = ("mimetype", "content.xml", "META-INF/manifest.xml")
FILES: dict[str, Callable[[], bytes]] = {
    "a PDF file": lambda: figure("pdf"),
    "a PostScript file": lambda: figure("ps"),
    "an RTF file": lambda: rb"{\rtf1\ansi\deff0 {\fonttbl {\f0 Courier;}} Hello.\par}",
    "an old Word, Excel or PowerPoint file": lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
    "a Word document": lambda: archive("[Content_Types].xml", "word/document.xml"),
    "an Excel workbook": lambda: archive("[Content_Types].xml", "xl/workbook.xml"),
    "a PowerPoint presentation": lambda: archive("ppt/presentation.xml"),
    "an EPUB book": lambda: archive("mimetype", "META-INF/container.xml", "chapter.html"),
    "an OpenDocument file": lambda: archive(*ODT),
    "a zip archive": lambda: archive("a.txt", "b.txt"),
    "a gzip archive": lambda: gzip.compress(TEXT),
    "a bzip2 archive": lambda: bz2.compress(TEXT),
    "an xz archive": lambda: lzma.compress(TEXT),
    "a zstd archive": lambda: bytes.fromhex("28b52ffd2423190100") + TEXT,
    "a 7-Zip archive": lambda: b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(100),
    "a RAR archive": lambda: b"Rar!\x1a\x07\x01\0" + bytes(100),
    "a tar archive": lambda: written(tar),
    "a PNG image": lambda: image("png"),
    "a JPEG image": lambda: image("jpeg"),
    "a GIF image": lambda: image("gif"),
    "a WebP image": lambda: image("webp"),
    "a TIFF image": lambda: image("tiff"),
    "a BMP image": lambda: image("bmp"),
    "an icon": lambda: image("ico"),
    "a sound file": lambda: written(sound),
    "a video": lambda: b"\0\0\0\x20ftypisom" + bytes(100),
    "a SQLite database": database,
    "a Parquet table": lambda: b"PAR1\x15\x04" + bytes(100),
    "a NumPy array": lambda: written(lambda stream: np.save(stream, np.arange(9))),
    "a NumPy archive": lambda: written(lambda stream: np.savez(stream, np.arange(9))),
    "a pickle": lambda: pickle.dumps({"text": "some"}),
    "a PyTorch file": lambda: written(lambda stream: torch.save({"a": torch.ones(9)}, stream)),
    "a safetensors file": lambda: safetensors.numpy.save({"a": np.ones(9)}),
    "a program": lambda: Path(sys.executable).read_bytes()[:4096],
    "a font": lambda: b"\0\x01\0\0\0\x0f\0\x80" + bytes(100),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_named_by_their_first_bytes(tmp_path, name):
    raw = FILES[name]()
    found = file_type(raw)
    assert found
    assert found.name == name
    for encoding in (None, "latin-1", "utf-16"):  # an encoding does not make it text
        with pytest.raises(CorpusError) as caught:
            decode(raw, "a.txt", encoding)
        assert caught.value.message == f"a.txt is not plain text but {name}"
        assert caught.value.hint == found.hint
    if raw.startswith(b"PK"):  # also if its name says that it is an archive
        path = tmp_path / "a.zip"
        path.write_bytes(raw)
        with pytest.raises(CorpusError, match=r"a\.zip") as caught:
            read_text(path)
        assert (name == "a zip archive") != (name in caught.value.message)


@pytest.mark.parametrize(
    "text",
    [
        "BMW fährt, MZ auch.\n",
        "MZ",
        "ID3 is a tag\n",
        "PK is short for park\n",
        "GIF is a format, RIFF another, OggS and fLaC too\n",
        "%PDF is how it begins\n",
        "{rtf}\n",
        "Rar! 7z BZh PAR1 SQLite format 3\n",
        "<!DOCTYPE html><html><p>Text.</p></html>\n",
        "<?xml version='1.0'?><svg></svg>\n",
        "#!/bin/sh\n",
        "\ufeffftyp\n",
        "ab\r\n\r\n",
        "x" * 257 + "ustar\n",
        "x" * 60 + "BOOKMOBI"[:7] + "\n",
    ],
)
def test_texts_are_not_taken_for_other_files(text):
    for end in ("", "and so on\n" * 100):
        assert file_type((text + end).encode()) is None


def test_zip_of_one_file_whatever_its_suffix(tmp_path):
    path = tmp_path / "page.zip"
    path.write_bytes(archive("folder/", "folder/page.html", "__MACOSX/folder/._page.html"))
    assert read_text(path).text == TEXT.decode()
    path.write_bytes(archive("a.html", "b.html"))
    with pytest.raises(CorpusError, match="holds 0 text files, not one"):
        read_text(path)


def test_gzip_of_another_file_is_named(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(FILES["a tar archive"]()))
    with pytest.raises(CorpusError, match="is not plain text but a tar archive"):
        read_text(path)
