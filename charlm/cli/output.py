"""The one sink: results to stdout, everything else to stderr, JSON alone when asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from charlm.strict_json import dumps

# C0 but newline and tab, DEL, C1, line and paragraph separators, and the marks that reorder text.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def printable(text: str) -> str:
    """``text`` with each control character as an escape, safe for a terminal."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class ClosedPipe(BaseException):
    """Nobody reads stdout any more (`| head`)."""


class Output:
    """Where a command's words go.

    Args:
        as_json: stdout gets one JSON object and nothing else.
        quiet: stderr gets warnings alone.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.show: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
        """writes a line to stderr; a progress bar puts its own in"""

    def text(self, text: str, end: str = "\n") -> None:
        """A result for a person; a terminal gets no raw control character, a pipe all as it is."""
        if not self.as_json:
            self._write((printable(text) if sys.stdout.isatty() else text) + end)

    def json(self, content: dict[str, Any]) -> None:
        """The result for a program."""
        if self.as_json:
            # What stdout's encoding lacks would be escaped as in Python, which is not JSON.
            is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
            self._write(dumps(content, ensure_ascii=not is_utf8, indent=2) + "\n")

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise ClosedPipe from None

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A result as a table; the first column to the left, the others to the right."""
        if self.as_json:
            return
        from rich.cells import cell_len  # Chinese characters are two columns wide

        lines = [header, *rows]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            spaces = [
                " " * (width - cell_len(cell)) for width, cell in zip(widths, line, strict=True)
            ]
            right = (space + cell for space, cell in zip(spaces[1:], line[1:], strict=True))
            self.text("  ".join([line[0] + spaces[0], *right]).rstrip())

    def note(self, message: str) -> None:
        """Something good to know."""
        if not self.quiet:
            self.show(printable(message))

    def warn(self, message: str) -> None:
        """Something that may be wrong."""
        self.show(printable(f"warning: {message}"))


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(perplexity: float | None) -> str:
    """A perplexity to three figures, or a dash."""
    if perplexity is None:
        return "-"
    return f"{perplexity:.3f}" if perplexity < 100 else f"{perplexity:,.0f}"
