from __future__ import annotations

import dataclasses
import hashlib
import http.server
import socket
import sys
import threading
from pathlib import Path

import pytest

from charlm.corpus import CatalogueEntry, CatalogueFile, catalogue, fetch, locate
from charlm.errors import CorpusError, FetchError

fetch_module = sys.modules["charlm.corpus.fetch"]

DATA = b"once upon a time\n" * 1000


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA at every path."""

    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server
    server.shutdown()
    server.server_close()


def entry_at(address: str) -> CatalogueEntry:
    return dataclasses.replace(
        catalogue()["timemachine"],
        name="story",
        file="story.txt",
        address=address,
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
    )


def served(server: Server) -> CatalogueEntry:
    return entry_at(f"http://127.0.0.1:{server.server_port}/good")


@pytest.fixture
def entry():
    """An entry whose address nobody answers at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return entry_at(f"http://127.0.0.1:{port}/story.txt")


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


def test_download(tmp_path, server, capfd):
    entry = served(server)
    path = fetch(entry, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "story.txt"
    assert path.read_bytes() == DATA
    assert [file.name for file in path.parent.iterdir()] == ["story.txt"]
    assert fetch(entry, tmp_path / "new" / "folder") == path
    assert server.requests == ["/good"]
    assert capfd.readouterr() == ("", "")


def test_download_shows_progress_on_stderr(tmp_path, server, capfd):
    fetch(served(server), tmp_path, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "17.0k" in err


def test_download_goes_to_the_first_folder_that_is_given_or_exists(
    tmp_path, server, monkeypatch, user_cache
):
    entry = served(server)
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


def test_a_failed_download(tmp_path, entry, capfd):
    """All the ways to fail are in tests/faults."""
    with pytest.raises(FetchError) as caught:
        fetch(entry, tmp_path / "new")
    assert caught.value.message == (
        f"could not download story from {entry.address}: Connection refused"
    )
    assert caught.value.hint == (
        f"put story.txt into {tmp_path / 'new'}, or use a bundled text: "
        "charlm train --corpus traveller"
    )
    assert list((tmp_path / "new").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_offline_text_is_of_the_same_language(tmp_path, entry):
    with pytest.raises(FetchError) as caught:
        fetch(dataclasses.replace(entry, language="Chinese"), tmp_path)
    assert caught.value.hint.endswith("charlm train --corpus night_train")


# ---------------------------------------------------------------- several files in a folder

PARTS = ("train/seq.in", "train/seq.out", "test/seq.in")


def folder_at(address: str) -> CatalogueEntry:
    """An entry of three files, all of them DATA."""
    digest = hashlib.sha256(DATA).hexdigest()
    return dataclasses.replace(
        catalogue()["atis"],
        name="slots",
        file="slots",
        address=address,
        files=tuple(
            CatalogueFile(f"slots/{part}", f"{address}/{part}", digest, len(DATA)) for part in PARTS
        ),
    )


@pytest.fixture
def slots(server):
    return folder_at(f"http://127.0.0.1:{server.server_port}")


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


def test_a_folder_is_downloaded(tmp_path, server, slots, capfd):
    folder = fetch(slots, tmp_path / "new")
    assert folder == tmp_path / "new" / "slots"
    assert server.requests == [f"/{part}" for part in PARTS]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert files == sorted(folder / part for part in PARTS)
    assert {path.read_bytes() for path in files} == {DATA}
    assert fetch(slots, tmp_path / "new") == folder
    assert len(server.requests) == 3
    assert capfd.readouterr() == ("", "")


def test_only_what_a_folder_lacks_is_downloaded(tmp_path, server, slots):
    put_parts(tmp_path, PARTS[0], PARTS[2])
    assert fetch(slots, tmp_path) == tmp_path / "slots"
    assert server.requests == [f"/{PARTS[1]}"]
    assert locate(slots, tmp_path) == tmp_path / "slots"


@pytest.mark.parametrize("others", [PARTS[:1], PARTS[:2]])
def test_a_wrong_file_in_a_folder_is_never_used_nor_replaced(
    tmp_path, server, slots, user_cache, others
):
    put_parts(user_cache, *PARTS)
    put_parts(tmp_path, *others)
    put_parts(tmp_path, PARTS[2], data=b"something else")
    for use in (locate, fetch):
        with pytest.raises(CorpusError, match=r"test/seq\.in is not the catalogued file"):
            use(slots, tmp_path)
    assert (tmp_path / "slots" / PARTS[2]).read_bytes() == b"something else"
    assert server.requests == []


def test_a_folder_that_fails_to_come_leaves_nothing(tmp_path, server, slots, monkeypatch):
    """The last file is not what it should be: those before it are not written either."""
    monkeypatch.setattr(fetch_module, "sleep", lambda seconds: None)
    *good, last = slots.files
    bad = dataclasses.replace(slots, files=(*good, dataclasses.replace(last, sha256="0" * 64)))
    with pytest.raises(FetchError) as caught:
        fetch(bad, tmp_path / "new")
    assert caught.value.message == (
        f"could not download slots from {last.address}: "
        "the download is not the catalogued file (its SHA-256 differs)"
    )
    assert caught.value.hint == (
        f"put slots into {tmp_path / 'new'}, or use your own data with --data"
    )
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path, slots):
    (tmp_path / "slots").write_text("not a folder")
    assert locate(slots, tmp_path) is None
    with pytest.raises(CorpusError, match=r"cannot write .*slots/train/seq\.in: "):
        fetch(slots, tmp_path)
    assert (tmp_path / "slots").read_text() == "not a folder"
