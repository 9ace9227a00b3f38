"""Who may ask the playground."""

from __future__ import annotations

import json
import socket

import pytest

from charlm.serve.guard import Guard, any_address, known_hosts

JSON = {"Content-Type": "application/json"}
FOREIGN_HOSTS = (
    "evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1",
    "localhost:1{port}", "127.0.0.2:{port}", "0.0.0.0:{port}", "[::]:{port}", "192.168.1.1:{port}",
    "localhost.evil.example:{port}", "127.0.0.1.evil.example:{port}", "evil.example#localhost",
    "localhost:{port}@evil.example", "evil.example:80@localhost:{port}", "LOCALHOST.:{port}",
    "127.1:{port}", "2130706433:{port}", "0x7f.1:{port}", "", " ", "localhost:{port}, evil.example",
)  # fmt: skip
FOREIGN_ORIGINS = (
    "http://evil.example", "https://127.0.0.1:{port}", "null", "http://127.0.0.1", "",
    "http://localhost:{port}", "http://127.0.0.1:1{port}", "http://127.0.0.1:{port}.evil.example",
    "http://evil.example:{port}", "file://", "http://127.0.0.1:{port}/", "http://[::1]:{port}",
    "chrome-extension://abc", "HTTP://127.0.0.1:{port}",
)  # fmt: skip
CROSS_SITE = ("cross-site", "same-site", "none, cross-site", "anything")
FOREIGN = [
    *({"Host": host} for host in FOREIGN_HOSTS),
    *({"Origin": origin} for origin in FOREIGN_ORIGINS),
    *({"Sec-Fetch-Site": site} for site in CROSS_SITE),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_foreign_pages_and_names_are_refused(ask, port, headers):
    assert len(FOREIGN) == 40
    given = {name: value.format(port=port) for name, value in headers.items()}
    for method, path in ("GET", "/"), ("POST", "/api/generate"):
        status, answer, body = ask(method, path, {"length": 1}, {**JSON, **given})
        assert status == 403, body
        assert "text" not in json.loads(body)
        assert "Access-Control-Allow-Origin" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:{port}"},
        {"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_own_page_is_answered(ask, port, headers):
    given = {name: value.format(port=port) for name, value in headers.items()}
    assert ask("POST", "/api/generate", {"length": 1}, {**JSON, **given})[0] == 200


def test_two_hosts_are_refused(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        host = f"Host: 127.0.0.1:{port}\r\n"
        connection.sendall(f"GET / HTTP/1.1\r\n{host}{host}\r\n".encode())
        assert connection.recv(100).split()[1] in (b"400", b"403")


@pytest.fixture
def refused(complete):
    """A function that says whether a guard refuses a request."""

    def check(guard, headers, query=b"", kind="http", method="GET"):
        sent = []
        scope = {"type": kind, "query_string": query, "method": method}
        scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]

        async def send(message):
            sent.append(message)

        complete(guard(scope, None, send))
        return sent[0].get("status") != 200

    return check


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_other_machines_need_the_token(refused):
    guard = Guard(answer, any_address(80, ["mine"]), "secret")
    host = {"host": "192.168.1.5:80"}
    bearer = {"authorization": "Bearer secret"}
    assert not refused(guard, host | bearer)
    assert not refused(guard, host, b"token=secret")
    assert not refused(guard, {"host": "mine"}, b"token=secret")
    assert not refused(guard, {"host": "[fe80::1]:80"}, b"token=secret")
    assert refused(guard, host)
    assert refused(guard, host, b"token=")
    assert refused(guard, host, "token=secré".encode())
    assert refused(guard, host | {"authorization": "Bearer secret "})
    assert refused(guard, host | {"authorization": "Basic secret"})
    assert refused(guard, {"host": "evil.example:80"} | bearer)
    assert refused(guard, {"host": "192.168.1.5:81"} | bearer)
    assert refused(guard, host | bearer | {"origin": "http://evil.example"})
    assert refused(Guard(answer, known_hosts(80, ["mine"]), None), host)
    assert refused(guard, host | bearer, kind="websocket")


def test_a_link_may_open_the_page_but_another_page_may_not_show_it(refused):
    guard = Guard(answer, known_hosts(80, ["mine"]), None)
    link = {"host": "mine", "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    assert not refused(guard, link)
    assert refused(guard, link | {"sec-fetch-dest": "iframe"})
    assert refused(guard, link, method="POST")
