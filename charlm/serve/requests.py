"""What a page asks for: JSON, checked and bounded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from charlm.config.seeds import seed_or_new
from charlm.errors import UsageError, did_you_mean, shown
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P
from charlm.tasks.language_model.decoding import Decoding
from charlm.tasks.language_model.model_page import LENGTH, MOST_CHARACTERS, MOST_LENGTH

MOST_BYTES = 2**17  # of a request

_KINDS: dict[str, type] = {
    "run": int, "prefix": str, "written": str, "text": str, "unit": str, "length": int,
    "temperature": float, "top_k": int, "top_p": float, "seed": int,
}  # fmt: skip
_WORDS = {int: "a whole number", float: "a number", str: "a text"}
_MAY_BE_NULL = ("top_k", "top_p", "seed")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A text that a page wants to have written."""

    run: int  # its number
    prefix: str  # as typed
    written: str  # what follows it: characters of the vocabulary, which are not cleaned again
    length: int  # characters to write; 0: only the distribution of the next one
    decoding: Decoding
    seed: int


def read_wanted(body: bytes) -> Wanted:
    """The text that a request wants; a UsageError says what is wrong with it."""
    given = _read(
        body, "run", "prefix", "written", "length", "temperature", "top_k", "top_p", "seed"
    )
    prefix, written = given.get("prefix", ""), given.get("written", "")
    _check_size("text", prefix + written)
    length = given.get("length", LENGTH)
    if not 0 <= length <= MOST_LENGTH:
        raise UsageError(f"length is {shown(length)}; it must be from 0 to {MOST_LENGTH:,}")
    decoding = Decoding(
        temperature=_number(given.get("temperature", TEMPERATURE)),
        top_k=given.get("top_k"),
        top_p=given.get("top_p", TOP_P),
    )
    return Wanted(
        run=given.get("run", 0),
        prefix=prefix,
        written=written,
        length=length,
        decoding=decoding,
        seed=seed_or_new(given.get("seed")),
    )


def read_text(body: bytes) -> tuple[int, str, str]:
    """The number of a run, a text to measure, and a unit; a UsageError says what is wrong."""
    given = _read(body, "run", "text", "unit")
    text = given.get("text", "")
    _check_size("text", text)
    return given.get("run", 0), text, given.get("unit", "")


def _number(value: float) -> float:
    """A number of JSON; one that is too large is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_size(name: str, text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise UsageError(
            f"the {name} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read",
            "give a shorter one",
        )


def _read(body: bytes, *known: str) -> dict[str, Any]:
    """The fields of a JSON object, with their types checked."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
    if not isinstance(content, dict):
        raise UsageError("the request is not a JSON object")
    for name, value in content.items():
        if name not in known:
            raise UsageError(f"unknown field {shown(name)}", did_you_mean(name, known))
        kind = _KINDS[name]
        fits = isinstance(value, (int, float) if kind is float else kind)
        if (value is None and name in _MAY_BE_NULL) or (fits and not isinstance(value, bool)):
            continue
        raise UsageError(f"{name} is {shown(value)}; it must be {_WORDS[kind]}")
    return content
