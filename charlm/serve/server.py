"""The server of the playground: its address, and the time from start to Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charlm.errors import CharlmError, UsageError, shown
from charlm.pages import page, policy
from charlm.serve import HOST, PORT
from charlm.serve.models import Served
from charlm.tasks.language_model.model_page import BOUNDS

if TYPE_CHECKING:
    import uvicorn

    from charlm.serve.playground import Playground

MOST_CONNECTIONS, BACKLOG = 200, 128
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """A playground that has an address."""

    address: str  # of the page; it has the token, if there is one
    playground: Playground
    server: uvicorn.Server
    socket: socket.socket

    def run(self) -> None:
        """Answer requests until a signal arrives, which is then passed on."""
        with self.socket:
            self.server.run(sockets=[self.socket])


def listen(
    models: Sequence[Served], host: str = HOST, port: int = PORT, *, remote: bool = False
) -> Listening:
    """A playground at an address.

    Args:
        models: at least one.
        host: a numeric address of this machine.
        port: 0: a free one.
        remote: whether ``host`` may be reached from other machines, which then need a token.

    Raises:
        UsageError: the host is not an address, or ``remote`` does not fit to it.
        CharlmError: the port is in use, or a package is missing.
    """
    address = _address(host, remote)
    try:
        import uvicorn

        from charlm.serve.guard import any_address, known_hosts
        from charlm.serve.playground import Playground
    except ImportError:
        raise CharlmError(
            "the playground needs starlette and uvicorn", 'pip install "charlm[serve]"'
        ) from None
    bound = _bound(address, port)
    port = bound.getsockname()[1]
    token = None
    name = _in_url(str(address))
    is_host = known_hosts(port, (*_LOCAL, name))
    if not address.is_loopback:
        token = secrets.token_urlsafe(24)
        names = (*_LOCAL, socket.gethostname().lower())
        is_host = any_address(port, names)
        name = names[-1] if address.is_unspecified else name
    playground = Playground(
        models,
        page_of(models),
        is_host=is_host,
        token=token,
        should_stop=lambda: server.should_exit,
    )
    config = uvicorn.Config(
        playground.app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # the playground tells of its own errors
        access_log=False,  # it would have the token
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    shown_address = f"http://{name}:{port}/" + (f"?token={token}" if token else "")
    return Listening(address=shown_address, playground=playground, server=server, socket=bound)


def page_of(models: Sequence[Served]) -> tuple[bytes, str]:
    """The page, and its Content-Security-Policy as a header."""
    data = {"runs": [each.about() for each in models], **BOUNDS}
    scripts = ["server.js", "playground.js", "coloured.js", "own-text.js"]
    styles = ["playground.css"]
    content = page(
        "playground.html",
        title="charlm playground",
        data=data,
        scripts=scripts,
        styles=styles,
        connects=True,
    )
    # The last directive counts in a header only.
    return content, f"{policy(scripts, styles, connects=True)}; frame-ancestors 'none'"


def _address(host: str, remote: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of a host, if it may be served."""
    try:
        address = ipaddress.ip_address(HOST if host == "localhost" else host)
    except ValueError:
        raise UsageError(
            f"--host {shown(host)} is not an address", f"give one such as {HOST} or 0.0.0.0"
        ) from None
    if address.is_loopback and remote:
        raise UsageError(
            f"other machines cannot reach {address}", "add --host 0.0.0.0, or leave --remote out"
        )
    if not (address.is_loopback or remote):
        raise UsageError(
            f"at {address} other machines can reach the playground",
            "add --remote if they may, or leave --host out",
        )
    return address


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _bound(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> socket.socket:
    """A socket at an address."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # With the protocol named, asyncio sends small parts at once (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # On Windows SO_REUSEADDR would let two servers have the same port.
        name = "SO_EXCLUSIVEADDRUSE" if os.name == "nt" else "SO_REUSEADDR"
        listening.setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
        listening.bind((str(address), port))
        listening.listen(BACKLOG)  # from now on a browser may come; it waits a moment
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise CharlmError(
                f"port {port} is in use", "give --port another number; 0 takes a free one"
            ) from None
        raise CharlmError(
            f"cannot listen at {address}, port {port}: {error.strerror}",
            "give another --port or --host",
        ) from None
    return listening
