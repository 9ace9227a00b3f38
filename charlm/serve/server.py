"""The server of the playground: its address, and the time from start to Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from types import FrameType

from charlm.errors import CharlmError, UsageError, shown
from charlm.serve.models import Served

HOST, PORT = "127.0.0.1", 8642
MOST_CONNECTIONS = 200
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


def serve(
    models: Sequence[Served],
    host: str = HOST,
    port: int = PORT,
    *,
    remote: bool = False,
    tell: Callable[[str], None],
) -> None:
    """Serve the playground until a signal arrives.

    Args:
        models: at least one.
        host: a numeric address of this machine.
        port: 0: a free one.
        remote: whether ``host`` may be reached from other machines, which then need a token.
        tell: called once, with the address of the page.

    Raises:
        UsageError: the host is no address, or other machines could reach it and ``remote`` is
            not set.
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

    class Server(uvicorn.Server):
        """It tells the playground that it ends."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            stop.set()
            super().handle_exit(sig, frame)

    stop = threading.Event()
    with _bound(address, port) as listening:
        port = listening.getsockname()[1]
        token = None if address.is_loopback else secrets.token_urlsafe(24)
        if address.is_loopback:
            is_host, name = known_hosts(port, _LOCAL), _in_url(str(address))
        else:
            names = (*_LOCAL, socket.gethostname().lower())
            is_host = any_address(port, names)
            name = names[-1] if address.is_unspecified else _in_url(str(address))
        playground = Playground(models, _page(models), is_host=is_host, token=token, stop=stop)
        config = uvicorn.Config(
            playground.app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the playground tells of its own errors
            access_log=False,  # it would have the token
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        tell(f"http://{name}:{port}/" + (f"?token={token}" if token else ""))
        Server(config).run(sockets=[listening])


def _address(host: str, remote: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of a host, if it may be served."""
    try:
        address = ipaddress.ip_address(HOST if host == "localhost" else host)
    except ValueError:
        raise UsageError(
            f"--host {shown(host)} is not an address", f"give one such as {HOST} or 0.0.0.0"
        ) from None
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
    listening = socket.socket(family)
    try:
        # On Windows SO_REUSEADDR would let two servers have the same port.
        option = socket.SO_REUSEADDR if os.name != "nt" else socket.SO_EXCLUSIVEADDRUSE
        listening.setsockopt(socket.SOL_SOCKET, option, 1)
        listening.bind((str(address), port))
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
