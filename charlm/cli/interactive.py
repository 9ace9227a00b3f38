"""``charlm generate --interactive``: continue each line that the user types."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from charlm.cli.interrupts import Interrupted
from charlm.cli.output import tell, tell_error
from charlm.cli.writer import Writer
from charlm.config.seeds import seed_or_new
from charlm.errors import CharlmError, UsageError, did_you_mean, shown
from charlm.tasks.language_model.continuation import Ending
from charlm.tasks.language_model.decoding import Decoding

HELP = """\
Type the start of a text and press Enter. An empty line continues the last text.
/length N        characters to add
/temperature F   more predictable below 1, less above 1; 0: always the most probable character
/top-p F         sample from the most probable characters whose probabilities sum to F; none: all
/top-k N         sample from the N most probable characters; none: all
/seed N          the seed of the next texts; none: a new one for each
/help            this list
Ctrl-C stops a text. Ctrl-D (on Windows Ctrl-Z and Enter) leaves. // starts a text with a /."""

_KINDS: dict[str, Callable[[str], Any]] = {
    "length": int, "temperature": float, "top-p": float, "top-k": int, "seed": int,
}  # fmt: skip


@dataclass(frozen=True)
class TextSettings:
    """What a user can change while typing."""

    ending: Ending
    decoding: Decoding
    seed: int | None

    def changed(self, name: str, value: str) -> TextSettings:
        """The settings with a value given as text.

        Raises:
            UsageError: there is no such setting, or the value is wrong.
        """
        if name not in _KINDS:
            known = [f"/{each}" for each in (*_KINDS, "help")]
            raise UsageError(
                f"unknown command {shown('/' + name)}", did_you_mean(f"/{name}", known)
            )
        try:
            none = value == "none" and name in ("top-p", "top-k", "seed")
            new: Any = None if none else _KINDS[name](value)
        except ValueError:
            whole = "a whole number" if _KINDS[name] is int else "a number"
            raise UsageError(f"/{name} takes {whole}, not {shown(value)}") from None
        if name == "length":
            return dataclasses.replace(self, ending=dataclasses.replace(self.ending, length=new))
        if name == "seed":
            return dataclasses.replace(self, seed=None if new is None else seed_or_new(new))
        key = name.replace("-", "_")
        return dataclasses.replace(self, decoding=dataclasses.replace(self.decoding, **{key: new}))


def interact(
    writer: Writer, prefix: str | None, ending: Ending, decoding: Decoding, seed: int | None
) -> None:
    """Continue each line of standard input, and the prefix before them if there is one."""
    settings = TextSettings(ending, decoding, seed)
    text = ""  # the last text, which an empty line continues
    writer.output.note("type the start of a text and press Enter; /help explains more")
    line = _read_line() if prefix is None else prefix
    while line is not None:
        try:
            if line.startswith("/") and not line.startswith("//"):
                settings = _command(settings, line[1:], writer)
            else:
                line = line.removeprefix("/") if line.startswith("//") else line
                given = (settings.ending, settings.decoding, settings.seed)
                (text,), _, flag = writer.write(line or text, *given, with_prefix=bool(line))
                if flag.signal_number != signal.SIGINT:
                    flag.raise_if_set()
        except CharlmError as error:
            tell_error(error.message, error.hint)
        line = _read_line()


def _command(settings: TextSettings, words: str, writer: Writer) -> TextSettings:
    """The settings after a command, which is confirmed on stderr."""
    name, _, value = words.strip().partition(" ")
    if name == "help":
        for line in HELP.splitlines():
            tell(line)
        return settings
    settings = settings.changed(name, value.strip())
    writer.output.note(f"{name}: {value.strip()}")
    return settings


def _read_line() -> str | None:
    """The next line of standard input; None at its end."""
    typed = sys.stdin.isatty()
    if typed:
        with suppress(ImportError):  # Windows edits lines without it
            import readline  # noqa: F401 - input() then edits lines and remembers them
    while True:
        try:
            return input("> " if typed and sys.stdout.isatty() else "")
        except EOFError:
            if typed:
                tell("")  # the shell's prompt gets a line of its own
            return None
        except Interrupted as error:  # Ctrl-C stops a text, and here there is none
            if not typed or error.exit_code != 128 + signal.SIGINT:
                raise
            tell("")
