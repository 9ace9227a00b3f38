"""The command line: each command checks, calls the library, and prints through one sink.

Nothing here imports torch before a command needs it, so that help comes at once.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from charlm.cli import (
    classify,
    corpus,
    evaluate,
    explain,
    generate,
    inspect,
    runs,
    tag,
    train,
    verify,
)
from charlm.cli.interrupts import Interrupted, catch_signals
from charlm.cli.options import Version
from charlm.cli.output import ClosedPipe, standard_streams, tell, tell_error
from charlm.errors import CharlmError

app = typer.Typer(
    name="charlm",
    help="Train, look inside and compare character-level recurrent language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("generate")(generate.generate)
app.command("eval")(evaluate.evaluate)
app.command("inspect")(inspect.inspect)
app.command("verify")(verify.verify)
app.add_typer(classify.app, name="classify")
app.add_typer(corpus.app, name="corpus")
app.add_typer(tag.app, name="tag")
app.add_typer(runs.app, name="runs")
app.add_typer(explain.app, name="explain")


@app.callback()
def _common(version: Version = False) -> None: ...


_TyperUsageError: Any = typer.BadParameter.__bases__[0]  # typer has no public name for it
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quota


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see the README for what they mean.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    with standard_streams():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with catch_signals():
            args = None if arguments is None else list(arguments)
            return app(args=args, standalone_mode=False) or 0  # typer.Exit's code is returned
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer found it, printing the help
            return 0
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except _TyperUsageError as error:
        _tell_usage(error)
        return 2
    except CharlmError as error:
        tell_error(error.message, error.hint)
        return error.exit_code
    except Interrupted as interrupted:
        return interrupted.exit_code
    except ClosedPipe:
        return 0  # the reader has what it wanted (`| head`)
    except Exception as error:
        if "allocate memory" in str(error) or "out of memory" in str(error):  # torch's words
            tell_error(
                "there is not enough memory for this",
                "try a smaller --hidden-size, --batch-size or --seq-len",
            )
            return 1
        if isinstance(error, OSError) and error.errno in _FULL:
            tell_error(str(error.strerror), "make room, or write to another place")
            return 1
        tell(traceback.format_exc().rstrip())
        tell_error("this is a bug in charlm; please report the lines above")
        return 3


def _tell_usage(error: Any) -> None:
    """Typer's words about the command line, in the form of all other errors."""
    message: str = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # the message is the help
        tell(message)
        return
    command = error.ctx.command_path if error.ctx else app.info.name
    tell_error(message[:1].lower() + message[1:].rstrip("."), f"see {command} --help")


def main() -> None:
    """The entry point of the ``charlm`` command."""
    sys.exit(run())
