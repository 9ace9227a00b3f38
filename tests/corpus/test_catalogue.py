from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import charlm.corpus
from charlm.corpus import CLEANINGS, catalogue, locate, read_text, split_sizes


def test_names():
    assert list(catalogue()) == [
        "traveller",
        "night_train",
        "timemachine",
        "jaychou",
        "tinyshakespeare",
    ]


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda entry: entry.name)
def test_entries_are_whole(entry):
    assert entry.cleaning in CLEANINGS
    assert sum(split_sizes(1_115_394, entry.split)) == 1_115_394
    assert "\n" not in entry.description
    assert entry.licence
    assert entry.citation
    if entry.bundled:
        assert entry.sha256 is entry.size is None
    else:
        assert entry.address.startswith("http")
        assert len(entry.sha256) == 64
        assert entry.size > 0


@pytest.mark.parametrize(("name", "length"), [("traveller", 24_000), ("night_train", 6_000)])
def test_bundled_texts_are_there(name, length):
    text = read_text(locate(catalogue()[name]))
    assert len(text.text) >= length
    assert text.notices == ()


@pytest.mark.parametrize("name", ["timemachine", "jaychou", "tinyshakespeare"])
def test_facts_of_the_real_files(name, real_corpora):
    entry = catalogue()[name]
    path = locate(entry, real_corpora)  # checks the hash
    assert path.stat().st_size == entry.size
    assert read_text(path).sha256 == (entry.text_sha256 or entry.sha256)


def test_importing_loads_nothing_heavy():
    heavy = ("torch", "numpy", "pooch", "requests", "charset_normalizer", "platformdirs")
    code = f"import sys, charlm.corpus; print([m for m in {heavy} if m in sys.modules])"
    root = Path(charlm.corpus.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.stderr) == ("[]\n", "")
