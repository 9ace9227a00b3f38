"""The one sink: results to stdout, everything else to stderr, JSON alone when asked for."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from charlm.errors import CharlmError
from charlm.strict_json import dumps

# What a terminal gets as an escape: what it acts on (C0 but newline and tab, DEL, C1, the line
# and paragraph separators), what makes a text look like another (marks that reorder it, tags and
# annotations that hide in it, Unicode's own deprecated format characters), and lone surrogates,
# which no encoding has. Joiners, variation selectors, soft hyphens and spaces without width stay:
# Persian, Indic scripts, Thai and emoji need them, and all they do is shape a letter or end a
# line. The price is a few emoji: the flags of England, Scotland and Wales are spelt with tags.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"
    "\ud800-\udfff\U000e0001\U000e0020-\U000e007f]"
)


def printable(text: str, *, as_json: bool = False) -> str:
    """``text`` with each control character as an escape, safe for a terminal.

    Args:
        as_json: the text is JSON and stays it, with the same meaning.
    """

    def escape(match: re.Match[str]) -> str:
        if as_json:
            return dumps(match[0], ensure_ascii=True).strip('"')
        return match[0].encode("unicode_escape").decode()

    return _CONTROLS.sub(escape, text)


def tell(message: str) -> None:
    """A line to stderr; where it cannot be written any more, the work goes on without it."""
    with suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def tell_error(message: str, hint: str | None = None) -> None:
    """What is wrong and what to do about it, each in one line whatever a file is called."""
    for kind, words in (("error", message), ("hint", hint)):
        if words:
            tell(f"{kind}: {words}".replace("\n", r"\n"))


class ClosedPipe(BaseException):
    """Nobody reads stdout any more (`| head`)."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Within, all three are there and take every character; after it, nothing is left to write."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed (`>&-`): a file opened later would take its number, and what is written to it.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    streams = sys.stdout, sys.stderr
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            # A terminal or pipe that knows no Chinese gets escapes, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams  # typer puts others in their place when a pipe breaks
        for stream in streams:
            try:
                stream.flush()
            except OSError:
                # Python would try once more at its end, complain, and exit with 120.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Output:
    """Where a command's words go.

    Args:
        as_json: stdout gets one JSON object and nothing else.
        quiet: stderr gets warnings alone.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.show: Callable[[str], None] = tell
        """writes a line to stderr; a progress bar puts its own in"""

    def text(self, text: str, end: str = "\n") -> None:
        """A result for a person; a terminal gets no raw control character, a pipe all as it is."""
        if not self.as_json:
            self._write(_shown(text) + end)

    def json(self, content: dict[str, Any]) -> None:
        """The result for a program."""
        if self.as_json:
            # What stdout's encoding lacks would be escaped as in Python, which is not JSON.
            is_utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
            text = dumps(content, ensure_ascii=not is_utf8, indent=2)
            self._write(_shown(text, as_json=True) + "\n")

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise ClosedPipe from None
        except OSError as error:
            raise CharlmError(f"cannot write to standard output: {error.strerror}") from error

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
        """A result as a table; the first columns to the left, the others to the right."""
        if self.as_json:
            return
        from rich.cells import cell_len  # Chinese characters are two columns wide

        lines = [[_shown(cell) for cell in line] for line in (header, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = []
            for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
                space = " " * (width - cell_len(cell))
                cells.append(cell + space if column < left else space + cell)
            self.text("  ".join(cells).rstrip())

    def note(self, message: str) -> None:
        """Something good to know."""
        if not self.quiet:
            self.show(printable(message))

    def warn(self, message: str) -> None:
        """Something that may be wrong."""
        self.show(printable(f"warning: {message}"))


def _shown(text: str, *, as_json: bool = False) -> str:
    """``text`` as stdout may have it: a pipe or a file as it is, a terminal made safe."""
    return printable(text, as_json=as_json) if sys.stdout.isatty() else text


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figure(value: float | None) -> str:
    """A perplexity or a loss to three figures, or a dash."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def figure_words(name: str, value: float) -> str:
    """What was measured, by its name in a run: ``valid accuracy 88.12%``."""
    return f"{figure_name(name)} {figure_of(name, value)}"


def figure_name(name: str) -> str:
    """A figure's name in a run, in words."""
    return name.replace("_f1", "_F1").replace("_", " ")


def figure_of(name: str, value: float | None) -> str:
    """What was measured: a part of a hundred where its name says so, or a number."""
    if value is not None and name.endswith(("_accuracy", "_f1")):
        return f"{value:.2f}%"
    return figure(value)
