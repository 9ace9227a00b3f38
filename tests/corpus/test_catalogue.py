from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import charlm.corpus
from charlm.corpus import CLEANINGS, catalogue, locate, read_text, split_sizes
from charlm.corpus.catalogue import CatalogueFile


def test_names_and_tasks():
    texts = (
        "traveller", "night_train", "timemachine", "jaychou", "tinyshakespeare", "ptb-char",
        "enwik8", "text8",
    )  # fmt: skip
    tasks = {name: entry.task for name, entry in catalogue().items()}
    assert tasks == dict.fromkeys(texts, "language-model") | {"imdb": "classify", "atis": "tag"}


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda entry: entry.name)
def test_entries_are_whole(entry):
    if entry.task == "language-model":
        assert entry.cleaning in CLEANINGS
        length = 100 if sum(entry.split) == 1 else int(sum(entry.split))
        assert sum(split_sizes(length, entry.split)) == length
        assert entry.prefixes
    else:
        assert entry.cleaning is entry.split is None
        assert entry.prefixes == ()
    assert "\n" not in entry.description
    assert entry.licence
    assert entry.citation
    if entry.bundled:
        assert entry.sha256 is entry.size is None
        assert entry.downloads == ()
    for file in entry.downloads:
        assert file.address.startswith("http")
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.size > 0
        assert not Path(file.path).is_absolute()
        assert ".." not in Path(file.path).parts


def test_one_file_and_several():
    imdb, atis = catalogue()["imdb"], catalogue()["atis"]
    assert imdb.files == ()
    assert imdb.downloads == (
        CatalogueFile("aclImdb_v1.tar.gz", imdb.address, imdb.sha256, imdb.size),
    )
    assert atis.downloads == atis.files
    assert atis.sha256 is atis.size is None
    assert [file.path for file in atis.files] == [
        f"atis/{split}/{name}"
        for split in ("train", "valid", "test")
        for name in ("seq.in", "seq.out", "label")
    ]
    assert atis.files[0].address == f"{atis.address}/train/seq.in"


def test_benchmarks_have_their_standard_splits():
    """The sizes are those of the literature; the characters of PTB are without its outer spaces."""
    ptb = catalogue()["ptb-char"]
    assert ptb.split == (5_017_482, 393_042, 442_423)
    assert [file.path for file in ptb.files] == [
        f"ptb-char/{name}.txt" for name in ("1-train", "2-valid", "3-test")
    ]
    assert [file.address.rpartition("/")[2] for file in ptb.files] == [
        f"ptb.{name}.txt" for name in ("train", "valid", "test")
    ]
    lines = (42_068, 3_370, 3_761)  # each begins and ends with a space
    sizes = tuple(file.size - 2 * n for file, n in zip(ptb.files, lines, strict=True))
    assert sizes == ptb.split
    for name in ("enwik8", "text8"):
        assert catalogue()[name].split == (90_000_000, 5_000_000, 5_000_000)
    assert [name for name, entry in catalogue().items() if entry.split_in_bytes] == ["enwik8"]


@pytest.mark.parametrize(("name", "length"), [("traveller", 24_000), ("night_train", 6_000)])
def test_bundled_texts_are_there(name, length):
    text = read_text(locate(catalogue()[name]))
    assert len(text.text) >= length
    assert text.notices == ()


@pytest.mark.parametrize("name", ["timemachine", "jaychou", "tinyshakespeare"])
def test_facts_of_the_real_files(name, corpora):
    entry = catalogue()[name]
    path = locate(entry, corpora)  # checks the hash
    assert path.stat().st_size == entry.size
    assert read_text(path).sha256 == (entry.text_sha256 or entry.sha256)


def test_facts_of_the_real_folder(atis):
    assert locate(catalogue()["atis"], atis) == atis / "atis"  # checks the hashes
    for file in catalogue()["atis"].files:
        assert (atis / file.path).stat().st_size == file.size


def test_importing_loads_nothing_heavy():
    heavy = ("torch", "numpy", "pooch", "requests", "chardet", "platformdirs")
    code = f"import sys, charlm.corpus; print([m for m in {heavy} if m in sys.modules])"
    root = Path(charlm.corpus.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.stderr) == ("[]\n", "")
