"""Failing downloads: a wrong file never gets the name of the corpus; the error is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.server
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from charlm.cli import run
from charlm.corpus import catalogue

# charlm.corpus.fetch is a function: the package has the same name for it as for the module.
fetch_module = sys.modules["charlm.corpus.fetch"]

DATA = b"once upon a time\n" * 1000
CERTIFICATE = Path(__file__).with_name("localhost.pem")  # used by no other server
COMMAND = """
import json, os, sys
from charlm.cli import run
from charlm.corpus import CatalogueEntry, catalogue

entry, folder = json.loads(sys.argv[1]), sys.argv[2]
catalogue()["story"] = CatalogueEntry(**entry)
code = run(["corpus", "fetch", "story", "--corpora-dir", folder, *sys.argv[3:]])
print("left:", *os.listdir(folder))
sys.exit(code)
"""


# Servers


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        self.close_connection = True
        with self.server.lock:
            self.server.requests.append(self.path)
        self.server.answer(self)

    def head(self, status: int = 200, length: int | None = len(DATA), **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Answers every request in the same way."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self, answer: Callable[[Handler], None], *, tls: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.half_sent = threading.Event()
        self.closing = threading.Event()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.server_port}/story.txt"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # the client has gone
            raise


@pytest.fixture
def serve():
    """Starts servers: ``serve(answer)``."""
    servers: list[Server] = []

    def start(answer: Callable[[Handler], None], *, tls: bool = False) -> Server:
        server = Server(answer, tls=tls)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return server

    yield start
    for server in servers:
        server.closing.set()
        server.shutdown()
        server.server_close()


# Good and bad answers


def good(handler):
    handler.head()
    handler.wfile.write(DATA)


def silent(handler):
    handler.server.closing.wait(60)


def stalled(handler):
    cut_short(handler)
    handler.server.half_sent.set()
    handler.server.closing.wait(60)


def reset(handler):
    cut_short(handler)
    reset_on_close = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
    os.close(handler.connection.detach())


def cut_short(handler):
    handler.head()
    handler.wfile.write(DATA[: len(DATA) // 2])


def cut_short_without_length(handler):
    handler.head(length=None, Connection="close")
    handler.wfile.write(DATA[: len(DATA) // 2])


def broken_chunk(handler):
    handler.head(length=None, Transfer_Encoding="chunked")
    handler.wfile.write(b"%x\r\n" % len(DATA) + DATA[:100])


def hung_up(handler):
    pass


def wrong_hash(handler):
    handler.head()
    handler.wfile.write(DATA[::-1])


def status(code: int) -> Callable[[Handler], None]:
    def answer(handler):
        handler.head(code, 0)

    return answer


def redirect(address: str) -> Callable[[Handler], None]:
    def answer(handler):
        handler.head(302, 0, Location=address)

    return answer


def loop(handler):
    handler.head(302, 0, Location=handler.server.address)


def endless(handler):
    handler.head(length=None, Connection="close")
    endless_body(handler)


def endless_body(handler):
    for _ in range(1000):  # 64 MB, so that a failing test ends
        handler.wfile.write(b"x" * 2**16)


def bomb(handler):
    packed = gzip.compress(bytes(2**24), 9)
    handler.head(length=len(packed), Content_Encoding="gzip")
    handler.wfile.write(packed)


def undecodable(handler):
    handler.head(Content_Encoding="gzip")
    handler.wfile.write(DATA)


# The command


@pytest.fixture(autouse=True)
def pauses(tmp_path, monkeypatch):
    """An empty working folder and cache; pauses between tries are recorded and skipped."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    seconds: list[float] = []
    monkeypatch.setattr(fetch_module, "sleep", seconds.append)
    return seconds


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "corpora"
    folder.mkdir()
    return folder


def entry_at(address):
    return dataclasses.replace(
        catalogue()["timemachine"],
        name="story",
        file="story.txt",
        address=address,
        sha256=hashlib.sha256(DATA).hexdigest(),
        size=len(DATA),
    )


@pytest.fixture
def fetch(folder, monkeypatch, capfd):
    """Runs ``charlm corpus fetch story`` in this process; exit code, stdout and stderr."""

    def fetch(address: str) -> tuple[int, str, str]:
        monkeypatch.setitem(catalogue(), "story", entry_at(address))
        code = run(["corpus", "fetch", "story", "--corpora-dir", str(folder)])
        return code, *capfd.readouterr()

    return fetch


def start(address, folder, *options, before="", stderr=subprocess.PIPE):
    """Start ``charlm corpus fetch story`` in a process that lists the folder at its end."""
    entry = json.dumps(dataclasses.asdict(entry_at(address)))
    return subprocess.Popen(
        [sys.executable, "-c", before + COMMAND, entry, str(folder), *options],
        stdout=subprocess.PIPE, stderr=stderr, text=True,
    )  # fmt: skip


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def error_line(code, out, err):
    """The error of a command that failed as it should."""
    lines = err.splitlines()
    assert code == 1, err
    assert out == ""
    assert [line.split(" ")[0] for line in lines] == ["error:", "hint:"]
    return lines[0].removeprefix("error: ")


def reason(outcome, address):
    start = f"could not download story from {address}: "
    line = error_line(*outcome)
    assert line.startswith(start)
    return line.removeprefix(start)


def assert_fetched(outcome, folder):
    assert outcome == (0, f"{folder / 'story.txt'}\n", "")
    assert names(folder) == ["story.txt"]
    assert (folder / "story.txt").read_bytes() == DATA


# Faults of the server


class Fault(NamedTuple):
    name: str
    answer: Callable[[Handler], None]
    reason: str
    tries: int = 3


FAULTS = [
    Fault("never an answer", silent, "no answer in time", 1),
    Fault("stops within the body", stalled, "no answer in time"),
    Fault("connection reset within the body", reset, "Connection reset by peer"),
    Fault("body shorter than its length", cut_short, "the connection was lost"),
    Fault("short body without a length", cut_short_without_length,
          "the download is not the catalogued file (its SHA-256 differs)"),
    Fault("chunked body broken off", broken_chunk, "the connection was lost"),
    Fault("hangs up without a word", hung_up, "the connection was lost"),
    Fault("right length, wrong hash", wrong_hash,
          "the download is not the catalogued file (its SHA-256 differs)"),
    Fault("404", status(404), "the server answered 404 Not Found", 1),
    Fault("429", status(429), "the server answered 429 Too Many Requests"),
    Fault("500", status(500), "the server answered 500 Internal Server Error"),
    Fault("redirects in a circle", loop, "the server redirects more than 5 times", 6),
    Fault("redirect to a file", redirect("file:///etc/hostname"),
          "the server redirects to an unsafe address", 1),
    Fault("body without end", endless, "the download is not the catalogued file (it is longer)"),
    Fault("decompression bomb", bomb, "the download is not the catalogued file (it is longer)"),
    Fault("broken compression", undecodable, "the download cannot be decompressed"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(serve, fetch, folder, pauses, monkeypatch, fault):
    monkeypatch.setattr(fetch_module, "_TIMEOUT", 0.5 if "no answer" in fault.reason else 20)
    server = serve(fault.answer)
    assert reason(fetch(server.address), server.address) == fault.reason
    assert len(server.requests) == fault.tries
    assert pauses == ([1, 2] if fault.tries == 3 else [])
    assert names(folder) == []


def test_nothing_listens(fetch, folder, pauses):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/story.txt"
    assert reason(fetch(address), address) == "Connection refused"
    assert pauses == []
    assert names(folder) == []


def test_unknown_host(fetch, folder, pauses, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    address = "http://example.org/story.txt"
    assert reason(fetch(address), address) == "Name or service not known"
    assert pauses == []
    assert names(folder) == []


@pytest.mark.parametrize("fault", [status(500), stalled, reset, cut_short, wrong_hash])
def test_a_fault_that_passes(serve, fetch, folder, pauses, monkeypatch, fault):
    """Two bad answers, then a good one."""
    monkeypatch.setattr(fetch_module, "_TIMEOUT", 0.5)

    def answer(handler):
        (fault if len(handler.server.requests) < 3 else good)(handler)

    assert_fetched(fetch(serve(answer).address), folder)
    assert pauses == [1, 2]


def test_a_compressed_answer(serve, fetch, folder):
    def answer(handler):
        packed = gzip.compress(DATA)
        handler.head(length=len(packed), Content_Encoding="gzip")
        handler.wfile.write(packed)

    assert_fetched(fetch(serve(answer).address), folder)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_a_terminal_shows_the_progress(serve, folder, options):
    import termios

    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 80))
    process = start(serve(good).address, folder, *options, stderr=stderr)
    os.close(stderr)
    shown = b""
    with contextlib.suppress(OSError):  # the end, when the process has closed its side
        while data := os.read(terminal, 1000):
            shown += data
    os.close(terminal)
    assert process.communicate(timeout=120)[0] == f"{folder / 'story.txt'}\nleft: story.txt\n"
    assert (b"story.txt: " in shown and b"17.0k" in shown) is not bool(options)
    assert bool(shown) is not bool(options)


# Redirects and HTTPS


def test_a_redirect_from_https_to_http_is_refused(serve, fetch, folder, pauses):
    plain = serve(good)
    for address in (plain.address, plain.address.replace("http", "HTTP")):
        server = serve(redirect(address), tls=True)
        found = reason(fetch(server.address), server.address)
        assert found == "the server redirects to an unsafe address"
        assert len(server.requests) == 1
    assert plain.requests == pauses == names(folder) == []


@pytest.mark.parametrize("tls", [False, True])
def test_redirects_to_https_are_followed(serve, fetch, folder, tls):
    server = serve(good, tls=True)
    assert_fetched(fetch(serve(redirect(server.address), tls=tls).address), folder)


def test_the_body_of_a_redirect_is_not_read(serve, fetch, folder):
    end = serve(good)

    def answer(handler):
        handler.head(302, length=None, Location=end.address)
        try:
            endless_body(handler)
        except ConnectionError:
            handler.server.half_sent.set()

    server = serve(answer)
    assert_fetched(fetch(server.address), folder)
    assert server.half_sent.wait(60)


def test_an_untrusted_certificate(serve, fetch, folder, pauses, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    server = serve(good, tls=True)
    found = reason(fetch(server.address), server.address)
    assert found.startswith("the server's certificate is not valid: ")
    assert server.requests == pauses == names(folder) == []


# Faults of the disk


def test_full_disk(serve, fetch, folder, monkeypatch):
    def write(descriptor, data, write=os.write):
        if len(data) < len(DATA):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:100])

    monkeypatch.setattr(os, "write", write)
    outcome = fetch(serve(good).address)
    monkeypatch.undo()
    assert error_line(*outcome) == f"cannot write {folder / 'story.txt'}: No space left on device"
    assert names(folder) == []


def outcome_of(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.skipif(os.name == "nt", reason="limits as POSIX has them")
def test_a_file_size_limit(serve, folder):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    code, out, err = outcome_of(start(serve(good).address, folder, before=limit))
    assert out == "left:\n"
    assert error_line(code, "", err) == f"cannot write {folder / 'story.txt'}: File too large"


def test_a_folder_with_the_name_of_the_file_stays(serve, fetch, folder):
    path = folder / "story.txt"
    path.mkdir()
    assert error_line(*fetch(serve(good).address)) == f"cannot write {path}: Is a directory"
    assert names(folder) == ["story.txt"]


# Several processes


def test_two_at_once(serve, folder):
    both = threading.Barrier(2, timeout=120)

    def answer(handler):
        both.wait()  # both processes ask before one of them has the file
        good(handler)

    server = serve(answer)
    processes = [start(server.address, folder) for _ in range(2)]
    for process in processes:
        code, out, err = outcome_of(process)
        assert (code, err) == (0, "")
        assert out.startswith(f"{folder / 'story.txt'}\n")
    assert len(server.requests) == 2
    assert names(folder) == ["story.txt"]
    assert (folder / "story.txt").read_bytes() == DATA


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_process_that_ends_during_the_download(serve, fetch, folder, number, code):
    server = serve(stalled)
    process = start(server.address, folder)
    assert server.half_sent.wait(120)
    process.send_signal(number)
    returned, _, err = outcome_of(process)
    assert (returned, err) == (code, "")
    assert names(folder) == []
    assert_fetched(fetch(serve(good).address), folder)
