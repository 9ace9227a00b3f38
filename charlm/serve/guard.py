"""Which requests the playground answers.

Any page that a browser shows can send requests to this machine, and after a change of its name's
address (DNS rebinding) it can read the answers too. So the Host of a request must be this server,
the Origin must be the playground's own page, and where other machines may ask, a token must be
given.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Collection
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}  # of every answer; a page has a Content-Security-Policy of its own
_BEARER = "Bearer "


def known_hosts(port: int, names: Collection[str]) -> Callable[[str], bool]:
    """Whether a Host is one of some names, with the port."""
    hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())
    return lambda host: host.lower() in hosts


def any_address(port: int, names: Collection[str]) -> Callable[[str], bool]:
    """Whether a Host is any numeric address, or one of some names, with the port.

    No numeric address can be rebound: the browser has looked no name up.
    """
    is_known = known_hosts(port, names)

    def check(host: str) -> bool:
        name, _, number = host.rpartition(":")
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return is_known(host)
        return number == str(port)

    return check


class Guard:
    """Passes on the requests of the playground's own page; the answer to others is 403.

    Args:
        app: answers the requests that pass.
        is_host: whether the value of Host is this server.
        token: what each request must have, as ``?token=`` or as Authorization: Bearer; None:
            nothing.
    """

    def __init__(self, app: ASGIApp, is_host: Callable[[str], bool], token: str | None) -> None:
        self.app, self.is_host, self.token = app, is_host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI defines it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        reason = self._reason(scope)
        app = JSONResponse({"error": reason}, 403) if reason else self.app
        await app(scope, receive, send_safely)

    def _reason(self, scope: Scope) -> str | None:
        """Why a request is refused; None: it is not."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.is_host(hosts[0]):
            return "the Host is not this server"
        if any(each != f"http://{hosts[0]}" for each in headers.getlist("origin")):
            return "the Origin is another page"
        # A browser says so of an address that is typed, and of the page's own requests. A link that
        # opens the page may be anywhere.
        opens = scope["method"] == "GET" and headers.getlist("sec-fetch-dest") == ["document"]
        if not (opens or {*headers.getlist("sec-fetch-site")} <= {"none", "same-origin"}):
            return "the request comes from another page"
        if self.token is not None and not self._has_token(scope, headers):
            return "the token is missing or wrong; it is in the address that charlm serve prints"
        return None

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = [*query.get("token", ())]
        authorization = headers.get("authorization", "")
        if authorization.startswith(_BEARER):
            given.append(authorization.removeprefix(_BEARER))
        assert self.token is not None
        wanted = self.token.encode()
        found = [secrets.compare_digest(each.encode("utf-8", "replace"), wanted) for each in given]
        return any(found)
