"""What the tests of the playground share: asking it."""

from __future__ import annotations

import asyncio
import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def port(playground):
    return playground.socket.getsockname()[1]


@pytest.fixture
def ask(port):
    """A function that sends a request, and returns status, headers and body."""

    def send(method, path, content=None, headers=JSON):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = content if isinstance(content, bytes | None) else json.dumps(content)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode()
        connection.close()
        return found

    return send


@pytest.fixture
def complete():
    """A function that returns the result of a coroutine.

    It runs in a thread, because playwright has a loop in this one.
    """

    def run(coroutine):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, coroutine).result()

    return run
