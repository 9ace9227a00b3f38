"""The command line: each command checks, calls the library, and prints through one sink.

Nothing here imports torch before a command needs it, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from charlm.cli import corpus, evaluate, generate, runs, train, verify
from charlm.cli.interrupts import Interrupted, catch_signals
from charlm.cli.options import Version
from charlm.cli.output import ClosedPipe, printable
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
app.command("verify")(verify.verify)
app.add_typer(corpus.app, name="corpus")
app.add_typer(runs.app, name="runs")


@app.callback()
def _common(version: Version = False) -> None: ...


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see the README for what they mean.

    Args:
        arguments: without the program's name; None: those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal or pipe that knows no Chinese gets escapes, not a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        with catch_signals():
            app(args=None if arguments is None else list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CharlmError as error:
        print(f"error: {printable(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {printable(error.hint)}", file=sys.stderr)
        return error.exit_code
    except Interrupted as interrupted:
        return interrupted.exit_code
    except ClosedPipe:
        # The reader has what it wanted (`| head`); nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "allocate memory" in str(error) or "out of memory" in str(error):  # torch's words
            print("error: there is not enough memory for this", file=sys.stderr)
            print("hint: try a smaller --hidden-size, --batch-size or --seq-len", file=sys.stderr)
            return 1
        traceback.print_exc()
        print("error: this is a bug in charlm; please report the lines above", file=sys.stderr)
        return 3
    return 0


def main() -> None:
    """The entry point of the ``charlm`` command."""
    sys.exit(run())
