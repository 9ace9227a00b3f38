"""``charlm serve`` on the command line, and as a process of its own."""

from __future__ import annotations

import builtins
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def started(served_runs, handled, tmp_path):
    """A function that starts ``charlm serve``; it returns the process and its port."""
    processes = []

    def start(*options):
        words = [sys.executable, "-m", "charlm", "serve", *map(str, served_runs), "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([*words, *options], text=True, cwd=tmp_path, **pipes)
        processes.append(process)
        return process, urlsplit(process.stdout.readline().strip()).port

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ask(port, **wanted):
    """Ask for a text; returns the connection and the answer, which is not read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        "POST", "/api/generate", json.dumps(wanted), {"Content-Type": "application/json"}
    )
    return connection, connection.getresponse()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_ends_it_at_once_even_while_a_text_is_written(started, number, code):
    process, port = started()
    connection, answer = ask(port, length=5000)
    answer.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err.splitlines()[-1].startswith("open this address")
    connection.close()


def test_a_port_in_use_is_a_clear_line(charlm, served_runs):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = charlm("serve", served_runs[0], "--port", port)
        assert (outcome.code, outcome.error) == (1, f"port {port} is in use")
        assert "--port" in outcome.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "other machines can reach"),
        (("--host", "evil.example"), "is not an address"),
        (("--remote",), "cannot reach 127.0.0.1"),
        (("--port", "70000"), "65535"),
    ],
)
def test_what_cannot_be_served_is_refused(charlm, served_runs, options, words):
    outcome = charlm("serve", served_runs[0], *options)
    assert outcome.code == 2
    assert words in outcome.error


def test_an_address_of_another_machine_is_no_address_to_listen_at(charlm, served_runs):
    outcome = charlm("serve", served_runs[0], "--host", "192.0.2.1", "--remote")
    assert outcome.code == 1
    assert "cannot listen at 192.0.2.1" in outcome.error


def test_without_the_extra_it_names_the_command_that_installs_it(charlm, served_runs, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **named):
        if name.partition(".")[0] == "uvicorn":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    outcome = charlm("serve", served_runs[0])
    assert outcome.code == 1
    assert outcome.hint == 'pip install "charlm[serve]"'


def test_the_address_and_the_token(served_runs):
    """The token is in the address, and a request without it is refused."""
    import torch

    from charlm.runs import Run
    from charlm.serve.models import Served
    from charlm.serve.server import listen

    served, _ = Served.load(Run.open(served_runs[0], weights="best"), torch.device("cpu"))
    local = listen([served], port=0)
    local.socket.close()
    assert local.address == f"http://127.0.0.1:{urlsplit(local.address).port}/"
    remote = [listen([served], "0.0.0.0", 0, remote=True) for _ in range(2)]
    for each in remote:
        each.socket.close()
    tokens = [urlsplit(each.address).query.removeprefix("token=") for each in remote]
    assert tokens[0] != tokens[1]
    assert len(tokens[0]) >= 32
    assert remote[0].playground.app.token == tokens[0]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the memory from /proc")
def test_20_clients_for_a_minute_with_flat_memory(started):
    process, port = started("--quiet")
    ends = time.monotonic() + 60
    failures, texts, sizes = [], [0] * 20, []

    def client(number):
        while time.monotonic() < ends:
            connection, answer = ask(port, length=200, seed=number, run=number % 2)
            last = answer.read().splitlines()[-1]
            if answer.status != 200 or json.loads(last).get("end") != "length":
                failures.append(last)
            texts[number] += 1
            connection.close()

    def resident():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20  # MiB

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    while time.monotonic() < ends:
        time.sleep(5)
        sizes.append(resident())
    for thread in threads:
        thread.join()
    print(f"{sum(texts)} texts, fewest of a client {min(texts)}, MiB {sizes}")
    assert failures == []
    assert min(texts) > 0
    assert max(sizes[1:]) - sizes[1] < 16
