"""The command line. A command checks its options, calls the library and prints an `Output`.

Nothing here imports torch before a command needs it, so that --help is fast.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from charlm import launching
from charlm.cli import (
    corpus,
    explain,
    export,
    generate,
    inspect,
    report,
    runs,
    serve,
    sweep,
    verify,
)
from charlm.cli.interrupts import Interrupted, catch_signals
from charlm.cli.options import App, Version, command_group
from charlm.cli.output import ClosedPipe, standard_streams, tell, tell_error
from charlm.cli.tasks import add_commands
from charlm.errors import CharlmError, disk_hint, lacks_memory, shown
from charlm.tasks import LANGUAGE_MODEL, TASKS

PROGRAM = "charlm"


def build_app() -> typer.Typer:
    """The app with all commands, those of every task in the registry included."""
    app = App(
        name=PROGRAM,
        help=LANGUAGE_MODEL.help,
        callback=_common,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    add_commands(app, LANGUAGE_MODEL)
    app.command("generate")(generate.generate)
    app.command("inspect")(inspect.inspect)
    app.command("report")(report.report)
    app.command("export")(export.export)
    app.command("serve")(serve.serve)
    app.command("verify")(verify.verify)
    app.command("sweep")(sweep.sweep)
    for task in TASKS.values():
        if task is not LANGUAGE_MODEL:
            group = command_group(task.help)
            add_commands(group, task)
            app.add_typer(group, name=task.name)
    app.add_typer(corpus.app, name="corpus")
    app.add_typer(runs.app, name="runs")
    app.add_typer(explain.app, name="explain")
    return app


def _common(version: Version = False) -> None: ...


_TyperUsageError: Any = typer.BadParameter.__bases__[0]  # typer has no public name for it
_MEANT = (
    ("classify train", "--data"),
    ("tag train", "--data"),
    ("train", "--corpus"),
    ("generate", "--prefix"),
    ("eval", "--run"),
    ("inspect", "--run"),
    ("export", "--run"),
)  # the option that a word without one was probably meant for


@standard_streams()
def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the README lists the exit codes.

    Args:
        arguments: the words after the program's name; None: those of the process.
    """
    launching.prepare()
    try:
        with catch_signals():
            # The result of a command is None, or the code of typer.Exit.
            return build_app()(args=arguments, standalone_mode=False) or 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # while typer printed the help
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
        return 0  # the reader has read enough (`| head`)
    except Exception as error:
        if lacks_memory(error):
            tell_error(
                "there is not enough memory for this",
                "try a smaller --hidden-size, --batch-size or --seq-len",
            )
            return 1
        if isinstance(error, OSError) and (hint := disk_hint(error)):
            where = f": {shown(str(error.filename))}" if error.filename else ""
            tell_error(f"{error.strerror}{where}", hint)
            return 1
        tell(traceback.format_exc().rstrip())
        tell_error("this is a bug in charlm; please report the lines above")
        return 3


def _tell_usage(error: Any) -> None:
    """Print an error that typer found, in the form of all other errors."""
    message: str = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # the message is the help
        tell(message)
        return
    command = error.ctx.command_path if error.ctx else PROGRAM
    hint = f"see {command} --help"
    if message.startswith("Got unexpected extra argument"):
        option = next((each for name, each in _MEANT if command.endswith(name)), None)
        if option is not None:
            hint = f"to name it, write {option} before it; {hint}"
    tell_error(message[:1].lower() + message[1:].rstrip("."), hint)


def main() -> None:
    """The entry point of the ``charlm`` command."""
    gc.set_threshold(100_000)  # importing torch makes many objects, and none of them is garbage
    code = run()
    if launching.one_of_several():
        launching.leave(code)
    sys.exit(code)
