from __future__ import annotations

import dataclasses
import errno
import hashlib
import sys
from pathlib import Path

import pytest

from charlm.corpus import catalogue, fetch, locate
from charlm.corpus.catalogue import CatalogueFile
from charlm.errors import CorpusError, FetchError

fetch_module = sys.modules["charlm.corpus.fetch"]

DATA = b"once upon a time\n" * 1000


@pytest.fixture
def entry():
    return dataclasses.replace(
        catalogue()["timemachine"],
        name="story",
        file="story.txt",
        address="http://localhost/story.txt",
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
    )


@pytest.fixture
def downloads(monkeypatch):
    """Replace the network by ``DATA`` at every address; gives the paths of the downloaded files."""
    paths: list[str] = []

    def download(file, progress):
        paths.append(file.path)
        return DATA

    monkeypatch.setattr(fetch_module, "_download", download)
    return paths


def put(folder: Path, data: bytes = DATA) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "story.txt").write_bytes(data)
    return folder / "story.txt"


def test_locate_looks_in_order(tmp_path, monkeypatch, entry, user_cache):
    assert locate(entry, tmp_path / "given") is None
    assert locate(entry) is None
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "environment"))
    folders = [user_cache, Path("corpora"), tmp_path / "environment", tmp_path / "given"]
    for folder in folders:
        path = put(folder)
        assert locate(entry, tmp_path / "given") == path
    assert fetch(entry, tmp_path / "given") == tmp_path / "given" / "story.txt"
    assert locate(entry) == tmp_path / "environment" / "story.txt"


def test_a_wrong_file_is_never_used_nor_passed_over(tmp_path, entry, user_cache):
    put(user_cache)
    wrong = put(tmp_path / "given", b"something else")
    for use in (locate, fetch):
        with pytest.raises(CorpusError, match=r"story\.txt is not the catalogued file") as caught:
            use(entry, tmp_path / "given")
        assert entry.sha256[:12] in caught.value.message
        assert hashlib.sha256(b"something else").hexdigest()[:12] in caught.value.message
        assert "delete or replace" in caught.value.hint
    assert wrong.read_bytes() == b"something else"


def test_bundled_texts_need_no_folder():
    assert fetch(catalogue()["traveller"]).name == "traveller.txt"


def test_download(tmp_path, downloads, entry):
    """Failures and real servers are in tests/faults/test_downloads.py."""
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        path = fetch(entry, folder)
        assert path == folder / "story.txt"
        assert path.read_bytes() == DATA
        assert list(folder.iterdir()) == [path]
    assert downloads == ["story.txt"]


def test_download_goes_to_the_first_folder_that_is_given_or_exists(
    tmp_path, downloads, entry, monkeypatch, user_cache
):
    assert fetch(entry).parent == user_cache
    (user_cache / "story.txt").unlink()
    Path("corpora").mkdir()
    assert fetch(entry).parent == Path("corpora").absolute()
    Path("corpora/story.txt").unlink()
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "environment"))
    assert fetch(entry).parent == tmp_path / "environment"
    (tmp_path / "environment" / "story.txt").unlink()
    (tmp_path / "a file").touch()
    assert fetch(entry, tmp_path / "a file").parent == tmp_path / "environment"


def test_no_folder_can_be_written_to(tmp_path, entry, monkeypatch):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(fetch_module, "_user_cache", lambda: tmp_path / "a file" / "corpora")
    with pytest.raises(CorpusError, match="no corpora folder can be written to"):
        fetch(entry, tmp_path / "a file")


@pytest.mark.parametrize(
    ("language", "instead"),
    [
        ("English", "use traveller, which comes with charlm"),
        ("Chinese", "use night_train, which comes with charlm"),
        ("Latin", "name your own data"),
    ],
)
def test_a_failed_download(tmp_path, entry, monkeypatch, language, instead):
    def download(file, progress):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(fetch_module, "_download", download)
    with pytest.raises(FetchError) as caught:
        fetch(dataclasses.replace(entry, language=language), tmp_path)
    reason = "Network is unreachable"
    assert caught.value.message == f"could not download story from {entry.address}: {reason}"
    assert caught.value.hint == f"put story.txt into {tmp_path}, or {instead}"
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- several files in a folder

PARTS = ("train/seq.in", "train/seq.out", "test/seq.in")


@pytest.fixture
def slots():
    """An entry of three files, all of them DATA."""
    digest = hashlib.sha256(DATA).hexdigest()
    files = (CatalogueFile(f"slots/{part}", f"x/{part}", digest, len(DATA)) for part in PARTS)
    return dataclasses.replace(catalogue()["atis"], name="slots", file="slots", files=tuple(files))


def put_parts(folder: Path, *parts: str, data: bytes = DATA) -> None:
    for part in parts:
        path = folder / "slots" / part
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch, slots, user_cache):
    assert locate(slots, tmp_path / "given") is None
    put_parts(tmp_path / "given", *PARTS[:2])
    assert locate(slots, tmp_path / "given") is None
    put_parts(user_cache, *PARTS)
    assert locate(slots, tmp_path / "given") == user_cache / "slots"
    put_parts(tmp_path / "given", PARTS[2])
    assert locate(slots, tmp_path / "given") == tmp_path / "given" / "slots"


def test_a_folder_is_downloaded(tmp_path, downloads, slots):
    folder = fetch(slots, tmp_path / "new")
    assert folder == tmp_path / "new" / "slots"
    assert downloads == [f"slots/{part}" for part in PARTS]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert files == sorted(folder / part for part in PARTS)
    assert {path.read_bytes() for path in files} == {DATA}
    assert fetch(slots, tmp_path / "new") == folder
    assert len(downloads) == 3


def test_only_what_a_folder_lacks_is_downloaded(tmp_path, downloads, slots):
    put_parts(tmp_path, PARTS[0], PARTS[2])
    assert fetch(slots, tmp_path) == tmp_path / "slots"
    assert downloads == [f"slots/{PARTS[1]}"]
    assert locate(slots, tmp_path) == tmp_path / "slots"


@pytest.mark.parametrize("others", [PARTS[:1], PARTS[:2]])
def test_a_wrong_file_in_a_folder_is_never_used_nor_replaced(
    tmp_path, downloads, slots, user_cache, others
):
    put_parts(user_cache, *PARTS)
    put_parts(tmp_path, *others)
    put_parts(tmp_path, PARTS[2], data=b"something else")
    for use in (locate, fetch):
        with pytest.raises(CorpusError, match=r"test/seq\.in is not the catalogued file"):
            use(slots, tmp_path)
    assert (tmp_path / "slots" / PARTS[2]).read_bytes() == b"something else"
    assert downloads == []


def test_a_folder_that_is_not_downloaded_whole_is_not_written(tmp_path, slots, monkeypatch):
    def download(file, progress):
        if file.path.endswith(PARTS[2]):
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return DATA

    monkeypatch.setattr(fetch_module, "_download", download)
    with pytest.raises(FetchError, match=r"could not download slots from x/test/seq\.in: Network"):
        fetch(slots, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path, downloads, slots):
    (tmp_path / "slots").write_text("not a folder")
    assert locate(slots, tmp_path) is None
    with pytest.raises(CorpusError, match=r"cannot write .*slots/train/seq\.in: "):
        fetch(slots, tmp_path)
    assert (tmp_path / "slots").read_text() == "not a folder"
