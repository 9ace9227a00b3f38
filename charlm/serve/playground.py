"""The playground as a web application: its page, and the answers to what the page asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from charlm import strict_json
from charlm.errors import CharlmError, Stopped, UsageError
from charlm.serve.guard import Guard
from charlm.serve.models import Served
from charlm.serve.requests import MOST_BYTES, Wanted, read_text, read_wanted
from charlm.tasks.language_model.prefix import Prefix
from charlm.tasks.language_model.steps import ALTERNATIVES, Step

FRAME = 1 / 30  # seconds between two parts of a text, at least
MOST_TEXTS = 32  # that are written at once
MOST_MEASURED = 8  # texts that are measured or wait for it
MOST_SECONDS = 120.0  # for a text
BODY_SECONDS = 10.0  # for a request to arrive
_BUSY = "the playground is busy; try again in a moment"


class Playground:
    """Answers the requests of the page.

    One thread writes all texts, a moment of each in turn, so that none waits long and the memory
    does not depend on their number. Another one measures texts, one after the other.

    Args:
        models: the models, which requests name by their number.
        page: the page and its Content-Security-Policy.
        is_host, token: as of `Guard`.
        should_stop: whether the server ends: texts end, too.
    """

    def __init__(
        self,
        models: Sequence[Served],
        page: tuple[bytes, str],
        *,
        is_host: Callable[[str], bool],
        token: str | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.models, self.page = models, page
        self.should_stop = should_stop
        self.texts, self.measured = Places(MOST_TEXTS), Places(MOST_MEASURED)
        self._writer, self._measurer = CapacityLimiter(1), CapacityLimiter(1)
        routes = [
            Route("/", self.show),
            Route("/api/runs", self.runs),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/surprisal", self.surprisal, methods=["POST"]),
            Route("/api/units", self.units, methods=["POST"]),
            Route("/api/copies", self.copies, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {
            CharlmError: _tell_error, HTTPException: _tell_status, Exception: _tell_bug,
        }  # fmt: skip
        self.app = Guard(Starlette(routes=routes, exception_handlers=handlers), is_host, token)

    def show(self, request: Request) -> Response:
        """The page."""
        content, policy = self.page
        return Response(
            content, media_type="text/html", headers={"Content-Security-Policy": policy}
        )

    def runs(self, request: Request) -> Response:
        """The models, in the order of their numbers."""
        return _json({"runs": [each.about() for each in self.models]})

    async def generate(self, request: Request) -> Response:
        """A text as it grows, a JSON object in each line."""
        wanted = read_wanted(await _body(request))
        served = self._model(wanted.run)
        with self.texts.place():  # it is given back if there is an error
            start = await to_thread.run_sync(served.start, wanted, limiter=self._writer)
        return _Text(self.texts, self._lines(served, start, wanted))

    async def surprisal(self, request: Request) -> Response:
        """The surprisal of each character of a text."""
        number, text, _ = read_text(await _body(request))
        served = self._model(number)
        return await self._measure(request, lambda should_stop: served.surprisal(text, should_stop))

    async def units(self, request: Request) -> Response:
        """The units that track something in a text, or one unit."""
        number, text, unit = read_text(await _body(request))
        served = self._model(number)
        return await self._measure(
            request, lambda should_stop: served.units(text, unit, should_stop)
        )

    async def copies(self, request: Request) -> Response:
        """What a text has copied from the training text."""
        number, text, _ = read_text(await _body(request))
        served = self._model(number)
        return await self._measure(request, lambda _: served.copies(text))

    def _model(self, number: int) -> Served:
        if not 0 <= number < len(self.models):
            raise UsageError(f"there is no run with the number {number}")
        return self.models[number]

    async def _lines(self, served: Served, start: Prefix, wanted: Wanted) -> AsyncIterator[bytes]:
        yield _line({"text": start.text, "notices": start.notices, "seed": wanted.seed})
        growing, left = served.write(start, wanted), wanted.length
        ends = time.monotonic() + MOST_SECONDS
        while not self.should_stop():
            began = time.monotonic()
            if began > ends:
                yield _line({"end": "time"})
                return
            seconds = FRAME / max(1, self.texts.taken)
            try:
                # One step more than is written: the distribution of the next character.
                some = await to_thread.run_sync(
                    _some_steps, growing, left + 1, seconds, limiter=self._writer
                )
            except CharlmError as error:
                yield _line({"error": error.message, "hint": error.hint})
                return
            last = next((n for n, step in enumerate(some) if served.ends(step)), left)
            written = some[:last]
            left -= len(written)
            if written:
                yield _line({"steps": [_written(served, step) for step in written]})
            if last < len(some):
                end = "line" if served.ends(some[last]) else "length"
                yield _line({"next": served.distribution(some[last], ALTERNATIVES), "end": end})
                return
            await anyio.sleep(max(0, began + FRAME - time.monotonic()))

    async def _measure(
        self, request: Request, measure: Callable[[Callable[[], bool]], dict[str, Any]]
    ) -> Response:
        """The result of a measurement, which ends when the page is closed."""
        gone = threading.Event()

        def should_stop() -> bool:
            return gone.is_set() or self.should_stop()

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            gone.set()
            group.cancel_scope.cancel()  # it waits for its turn no longer

        found: dict[str, Any] | CharlmError | None = None
        with self.measured.place():
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                with suppress(Stopped):
                    try:
                        found = await to_thread.run_sync(
                            measure, should_stop, limiter=self._measurer
                        )
                    except CharlmError as error:  # raised below, not in a group of errors
                        found = error
                group.cancel_scope.cancel()
        if found is None:
            raise HTTPException(503, "the playground ends")
        if isinstance(found, CharlmError):
            raise found
        return _json(found)


class Places:
    """A number of places, of which each is free or taken."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place in the block.

        Raises:
            HTTPException: 503, because none is free.
        """
        if self.taken >= self.most:
            raise HTTPException(503, _BUSY, {"Retry-After": "1"})
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class _Text(StreamingResponse):
    """A text that grows. It ends when the page is closed, or does not read it in time."""

    media_type = "application/x-ndjson"

    def __init__(self, places: Places, lines: AsyncIterator[bytes]) -> None:
        super().__init__(lines)
        self.places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.places.place(), anyio.move_on_after(MOST_SECONDS + FRAME):
            async with aclosing(self.body_iterator):  # type: ignore[type-var]
                await super().__call__(scope, receive, send)


def _some_steps(growing: Iterator[Step | None], most: int, seconds: float) -> list[Step]:
    """The next steps of a text, at least one or a part of the prefix, within some seconds."""
    some: list[Step] = []
    until = time.monotonic() + seconds
    for step in growing:
        if step is not None:
            some.append(step)
        if len(some) == most or time.monotonic() >= until:
            break
    return some


def _written(served: Served, step: Step) -> dict[str, Any]:
    return {"character": served.character(step.token), **served.distribution(step)}


async def _body(request: Request) -> bytes:
    """The JSON of a request; an HTTPException if it is too long, too slow, or something else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "the request must be application/json")
    body = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise HTTPException(413, f"a request has at most {MOST_BYTES:,} bytes")
    except TimeoutError:
        raise HTTPException(408, "the request did not arrive in time") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request did not arrive") from None
    return bytes(body)


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    # In ASCII, so that a lone surrogate in a text can be sent.
    data = strict_json.dumps(content, ensure_ascii=True).encode()
    return Response(data, status, headers, "application/json")


def _line(content: Any) -> bytes:
    return strict_json.dumps(content, ensure_ascii=True).encode() + b"\n"


def _tell_error(request: Request, error: CharlmError) -> Response:
    status = 400 if isinstance(error, UsageError) else 422
    return _json({"error": error.message, "hint": error.hint}, status)


def _tell_status(request: Request, error: HTTPException) -> Response:
    return _json({"error": error.detail}, error.status_code, error.headers)


def _tell_bug(request: Request, error: Exception) -> Response:
    logging.getLogger(__name__).error("a bug in charlm; please report it", exc_info=error)
    return _json({"error": "this is a bug in charlm; the terminal shows it"}, 500)
