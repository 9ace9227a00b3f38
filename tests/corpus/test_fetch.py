from __future__ import annotations

import dataclasses
import hashlib
import http.server
import socket
import sys
import threading
from pathlib import Path

import pytest

from charlm.corpus import CatalogueEntry, catalogue, fetch, locate
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
        f"put story.txt into {tmp_path / 'new'}, or use a text that is here at once: "
        "charlm train --corpus traveller"
    )
    assert list((tmp_path / "new").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_offline_text_is_of_the_same_language(tmp_path, entry):
    with pytest.raises(FetchError) as caught:
        fetch(dataclasses.replace(entry, language="Chinese"), tmp_path)
    assert caught.value.hint.endswith("charlm train --corpus night_train")
