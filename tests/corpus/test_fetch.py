from __future__ import annotations

import dataclasses
import hashlib
import http.server
import socket
import sys
import threading
import time
import types
from pathlib import Path

import pooch.core
import pytest
import requests

from charlm.corpus import CatalogueEntry, catalogue, fetch, locate
from charlm.errors import CorpusError, FetchError

fetch_module = sys.modules["charlm.corpus.fetch"]

DATA = b"once upon a time\n" * 1000


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA at every path; a path that is a number has it as its status."""

    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requests.append(self.path)
        what = self.path.strip("/")
        if what == "flaky" and len(self.server.requests) == 1:
            what = "500"
        self.send_response(int(what) if what.isdigit() else 200)
        if what == "302":
            self.send_header("Location", "file:///etc/hostname")
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        body = {"truncated": DATA[:5000], "wrong": DATA[::-1]}.get(what, DATA)
        if what == "stalled":
            time.sleep(1)
        else:
            self.wfile.write(body)

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


@pytest.fixture
def pauses(monkeypatch):
    """The waiting times between tries, which are not waited for."""
    seconds: list[float] = []
    monkeypatch.setattr(pooch.core, "time", types.SimpleNamespace(sleep=seconds.append))
    return seconds


def entry_at(address: str) -> CatalogueEntry:
    return dataclasses.replace(
        catalogue()["timemachine"],
        name="story",
        file="story.txt",
        address=address,
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
    )


def served(server: Server, what: str) -> CatalogueEntry:
    return entry_at(f"http://127.0.0.1:{server.server_port}/{what}")


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
    entry = served(server, "good")
    path = fetch(entry, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "story.txt"
    assert path.read_bytes() == DATA
    assert [file.name for file in path.parent.iterdir()] == ["story.txt"]
    assert fetch(entry, tmp_path / "new" / "folder") == path
    assert server.requests == ["/good"]
    assert capfd.readouterr() == ("", "")


def test_download_shows_progress_on_stderr(tmp_path, server, capfd):
    fetch(served(server, "good"), tmp_path, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "17.0k" in err


def test_download_goes_to_the_first_folder_that_is_given_or_exists(
    tmp_path, server, monkeypatch, user_cache
):
    entry = served(server, "good")
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


def failure(entry: CatalogueEntry, folder: Path) -> str:
    with pytest.raises(FetchError) as caught:
        fetch(entry, folder)
    assert list(folder.iterdir()) == []
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(f"could not download story from {entry.address}: ")
    assert caught.value.hint == (
        f"put story.txt into {folder}, or use a text that is here at once: "
        "charlm train --corpus traveller"
    )
    return caught.value.message.removeprefix(f"could not download story from {entry.address}: ")


@pytest.mark.parametrize(
    ("what", "reason", "tries"),
    [
        ("404", "the server answered 404 Client Error: Not Found", 1),
        ("500", "the server answered 500 Server Error: Internal Server Error", 3),
        ("wrong", "what came is not the catalogued file (its SHA-256 differs)", 3),
        ("truncated", "the connection broke off", 3),
        ("302", "No connection adapters were found for 'file:///etc/hostname'", 3),
    ],
)
def test_bad_answers(tmp_path, server, pauses, what, reason, tries, capfd):
    assert failure(served(server, what), tmp_path) == reason
    assert len(server.requests) == tries
    assert pauses == [1, 2][: tries - 1]
    assert capfd.readouterr() == ("", "")


def test_a_bad_answer_may_pass(tmp_path, server, pauses):
    assert fetch(served(server, "flaky"), tmp_path).read_bytes() == DATA
    assert pauses == [1]


def test_no_answer_in_time(tmp_path, server, pauses, monkeypatch):
    monkeypatch.setattr(fetch_module, "_TIMEOUT", 0.2)
    assert failure(served(server, "stalled"), tmp_path) == "no answer in time"
    assert pauses == []


def test_nothing_listening_fails_at_once(tmp_path, entry):
    start = time.perf_counter()
    assert "refused" in failure(entry, tmp_path)
    assert time.perf_counter() - start < 5


def test_unknown_host(tmp_path):
    assert failure(entry_at("http://no-such-host.invalid/a.txt"), tmp_path)


def test_redirect_from_https_to_http_is_refused():
    response = requests.Response()
    response.url = "https://example.org/a.txt"
    response.headers["Location"] = "https://example.org/b.txt"
    fetch_module._refuse_downgrade(response)
    response.headers["Location"] = "http://example.org/a.txt"
    with pytest.raises(requests.ConnectionError, match="from https to http"):
        fetch_module._refuse_downgrade(response)


def test_the_offline_text_is_of_the_same_language(tmp_path, entry):
    with pytest.raises(FetchError) as caught:
        fetch(dataclasses.replace(entry, language="Chinese"), tmp_path)
    assert caught.value.hint.endswith("charlm train --corpus night_train")
