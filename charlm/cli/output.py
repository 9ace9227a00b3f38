"""Output of the commands: results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from charlm.errors import CharlmError
from charlm.launching import rank
from charlm.strict_json import dumps

if TYPE_CHECKING:
    from charlm.config import TaskConfig
    from charlm.runs import Run
    from charlm.task import Report, Table

# A terminal gets these characters as escapes: control characters (C0 except newline and tab, DEL,
# C1, the line and paragraph separators), characters that make a text look like another one (marks
# that reorder it, invisible tags and annotations, deprecated format characters), and lone
# surrogates, which cannot be encoded. Joiners, variation selectors, soft hyphens and zero-width
# spaces stay: Persian, Indic scripts, Thai and emoji need them, and they only shape letters or
# break lines. The flag emoji of England, Scotland and Wales are lost, as they consist of tags.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"
    "\ud800-\udfff\U000e0001\U000e0020-\U000e007f]"
)


def printable(text: str, *, as_json: bool = False) -> str:
    """``text`` with control characters as escapes, safe for a terminal.

    Args:
        as_json: ``text`` is JSON; the result is JSON with the same content.
    """

    def escape(match: re.Match[str]) -> str:
        if as_json:
            return dumps(match[0], ensure_ascii=True).strip('"')
        return match[0].encode("unicode_escape").decode()

    return _CONTROLS.sub(escape, text)


def tell(message: str) -> None:
    """Write a line to stderr. If stderr cannot be written, the command continues without it."""
    _print(printable(message))


def _print(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def tell_error(message: str, hint: str | None = None) -> None:
    """Write an error and its hint to stderr, each as one line even if a file name has several."""
    for kind, colour, words in (("error", "bold red", message), ("hint", "cyan", hint)):
        if words:
            line = printable(words).replace("\n", r"\n")
            _print(styled(f"{kind}:", colour, sys.stderr) + f" {line}")


class ClosedPipe(BaseException):
    """The reader of stdout has closed it (`| head`)."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make the standard streams accept every character inside the block; flush them after it.

    Files and pipes are in UTF-8, whatever the code page of the system or ``PYTHONIOENCODING``. A
    terminal keeps its own encoding, and gets an escape for a character that this encoding lacks.
    Of several processes of a training, one writes.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed (`>&-`): else the next opened file gets its number, and the output with it.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    if rank():
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    streams = sys.stdout, sys.stderr
    for stream in (sys.stdin, *streams):
        if hasattr(stream, "reconfigure"):
            encoding = None if stream.isatty() else "utf-8"
            errors = "replace" if stream is sys.stdin else "backslashreplace"
            with suppress(io.UnsupportedOperation):  # standard input that has been read from
                stream.reconfigure(encoding=encoding, errors=errors)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams  # typer replaces them when a pipe breaks
        for stream in streams:
            try:
                stream.flush()
            except OSError:
                # Python would try once more at its end, complain, and exit with 120.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Output:
    """The output of a command.

    Args:
        as_json: write one JSON object to stdout and nothing else.
        quiet: write no notes to stderr, only warnings.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.show: Callable[[str], None] = _print
        """Writes a line to stderr; a progress bar replaces it."""

    def text(self, text: str, end: str = "\n") -> None:
        """Write a result for people. Control characters are escaped only on a terminal."""
        if not self.as_json:
            self._write(_shown(text) + end)

    def coloured(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Write a result in pieces, each in one of rich's styles; an empty style is none."""
        if not self.as_json:
            shown = ((_shown(text), style) for text, style in pieces)
            self._write(
                "".join(styled(*each, sys.stdout) if each[1] else each[0] for each in shown)
            )

    def json(self, content: dict[str, Any]) -> None:
        """Write the result for programs, if JSON was asked for."""
        if self.as_json:
            # A terminal may not be in UTF-8, and Python's escapes of characters are not JSON.
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

    def report(self, run: Run, report: Report, seconds: float) -> None:
        """A task's report: JSON for programs, or its texts and tables for people."""
        about = {"run": str(run.folder), "task": run.task.name}
        about["parameters"] = run.training["parameters"]
        for warning in report.warnings:
            self.warn(warning)
        self.json({**about, **report.content, "seconds": round(seconds, 2)})
        self.blocks(report.blocks)

    def blocks(self, blocks: Iterable[str | Table]) -> None:
        """Write texts and tables, one below the other. Texts are wrapped as tables are."""
        width = _width()
        for block in blocks:
            if isinstance(block, str):
                self.text(block if width is None else _wrapped(block, width))
            else:
                self.table(block.header, block.rows, left=block.left)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
        """Write a table: the first ``left`` columns are left-aligned, the others right-aligned.

        On a terminal it fits the width (`charlm.cli.tables`); in a pipe each row is one line.
        """
        if self.as_json:
            return
        from charlm.cli.tables import table_lines

        shown = [[_shown(cell) for cell in row] for row in rows]
        first, *others = table_lines(header, shown, left=left, width=_width())
        self._write("\n".join([styled(first, "bold", sys.stdout), *others]) + "\n")

    def numbered(self, names: Sequence[str]) -> None:
        """Write the names with their numbers, which head the columns of the next table."""
        rows = [(str(number), name) for number, name in enumerate(names, start=1)]
        self.table(("", "run"), rows, left=2)
        self.text("")

    def settings(self, config: TaskConfig) -> None:
        """Write all settings of a configuration, section by section."""
        for section, values in config.to_dict().items():
            self.text(f"\n[{section}]")
            about = config.sections()[section].settings()
            for key, value in values.items():
                self.text(f"{key} = {about[key].text(value)}")

    def explained_settings(
        self, config: TaskConfig, origins: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Write all settings, each with its meaning and where its value is from."""
        for section, values in config.to_dict().items():
            self.text(f"\n[{section}]")
            about = config.sections()[section].settings()
            rows = [
                (key, about[key].text(value), origins[section][key], about[key].summary)
                for key, value in values.items()
            ]
            self.table(("setting", "value", "from", "meaning"), rows, left=4)

    def note(self, message: str) -> None:
        """Write a note to stderr, unless the command is quiet."""
        if not self.quiet:
            self.show(printable(message))

    def warn(self, message: str) -> None:
        """Write a warning to stderr."""
        self.show(styled("warning:", "yellow", sys.stderr) + printable(f" {message}"))


def has_colours(stream: Any) -> bool:
    """Whether a stream is a terminal with colours; the environment variable NO_COLOR denies it."""
    return bool(stream.isatty() and not os.environ.get("NO_COLOR"))


def styled(text: str, style: str, stream: Any) -> str:
    """The text in one of rich's styles, if the stream is a terminal with colours.

    The environment variable NO_COLOR turns styles off.
    """
    if not has_colours(stream):
        return text
    from rich.console import Console

    console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
    if console.legacy_windows:
        return text
    with console.capture() as capture:
        console.print(text, style=style, end="")
    return capture.get()


def _width() -> int | None:
    """The width for tables on stdout: $COLUMNS, or the terminal's; None in a pipe or a file."""
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return None
    return shutil.get_terminal_size().columns


def _wrapped(text: str, width: int) -> str:
    """A sentence in lines that end between words; a longer word, such as a path, stays whole."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _shown(text: str, *, as_json: bool = False) -> str:
    """``text`` for stdout: safe for a terminal, unchanged for a pipe or a file."""
    return printable(text, as_json=as_json) if sys.stdout.isatty() else text
