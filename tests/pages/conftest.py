"""Pages in Chromium: errors and requests are watched, and screenshots are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SCREENSHOTS = Path(os.environ.get("CHARLM_SCREENSHOTS", "build/screenshots")).resolve()
SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or playwright's own.

    It ends with the tests of a module, because it leaves an event loop running until then.
    """
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
        except Error as error:
            pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address or a file in a page of its own; at the end, checks what the page did.

    A page may write no error to the console, and ask for nothing but itself and a server on the
    loopback address. ``visit(..., scheme="dark", size="phone")`` opens it so.
    """
    contexts, faults = [], []

    def watch(page: Any, address: str) -> None:
        def asked(request: Any) -> None:
            parts = urlsplit(request.url)
            served = address.startswith("http") and parts.hostname == "127.0.0.1"
            if parts.scheme != "data" and request.url != address and not served:
                faults.append(f"request: {request.url}")

        page.on("request", asked)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "console",
            lambda line: faults.append(f"console: {line.text}") if line.type == "error" else None,
        )

    def open_page(target: str | Path, *, scheme: str = "light", size: str = "desktop") -> Any:
        width, height = SIZES[size]
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}
        )
        contexts.append(context)
        page = context.new_page()
        address = target.as_uri() if isinstance(target, Path) else target
        watch(page, address)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        with suppress(Exception):
            context.close()
    assert not faults


@pytest.fixture
def picture(visit: Callable[..., Any]) -> Callable[..., None]:
    """Keeps screenshots of a page, light and dark, on a desktop and a phone, and printed."""

    def take(target: str | Path, name: str, ready: Callable[[Any], None] | None = None) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for size in SIZES:
            for scheme in SCHEMES:
                page = visit(target, scheme=scheme, size=size)
                if ready:
                    ready(page)
                file = SCREENSHOTS / f"{name}-{size}-{scheme}.png"
                page.screenshot(path=file, full_page=True)
                assert file.stat().st_size > 1000
                # Nothing is wider than the screen: only what scrolls by itself may be.
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.pdf(path=SCREENSHOTS / f"{name}.pdf")

    return take
