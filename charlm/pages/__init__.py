"""Self-contained HTML pages: one file each, which asks the network for nothing.

A page is a template of jinja2, the one stylesheet, some scripts, and data in JSON. Everything that
comes from a run or a text is data: a script puts it into the page as text, never as markup. The
page's Content-Security-Policy allows its own style and script by their hashes, and nothing else.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from charlm.strict_json import dumps

if TYPE_CHECKING:
    from jinja2 import Environment

CHARTS = ("uplot/uPlot.iife.min.js", "charts.js")
"""The scripts of a page with curves."""


def page(
    template: str,
    *,
    title: str,
    data: Any,
    scripts: Sequence[str],
    styles: Sequence[str] = (),
    connects: bool = False,
) -> bytes:
    """A page as the bytes of its file.

    Args:
        template: a file in the folder ``web`` that extends ``base.html``.
        title: of the window.
        data: what the page shows; ``page.js`` reads it from the element ``data``, as JSON.
        scripts: files in ``web``, in this order, after ``page.js``.
        styles: files in ``web`` before ``style.css``.
        connects: whether the page's scripts may ask the server that it came from.
    """
    style, script = _joined(scripts, styles)
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            data=data,
            style=style,
            script=script,
            policy=policy(scripts, styles, connects=connects),
        )
        .encode("utf-8", "backslashreplace")  # a file's name may have lone surrogates
    )


def policy(scripts: Sequence[str], styles: Sequence[str] = (), *, connects: bool = False) -> str:
    """The Content-Security-Policy of a page; arguments as of `page`."""
    style, script = _joined(scripts, styles)
    parts = {
        "default-src": "'none'",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        **({"connect-src": "'self'"} if connects else {}),
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _joined(scripts: Sequence[str], styles: Sequence[str]) -> tuple[str, str]:
    """The one style and the one script of a page."""
    style = "\n".join(map(_source, (*styles, "style.css")))
    return style, "\n".join(map(_source, ("page.js", *scripts)))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@functools.cache
def _source(name: str) -> str:
    return resources.files(__name__).joinpath("web", name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__name__, "web"), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_function"] = dumps
    environment.policies["json.dumps_kwargs"] = {}
    return environment
