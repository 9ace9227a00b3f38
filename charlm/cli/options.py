"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperOption

from charlm.cli.output import Output
from charlm.compiled import teller
from charlm.corpus import read_text
from charlm.errors import CharlmError, CorpusError, UsageError
from charlm.home import is_path, with_home

if TYPE_CHECKING:
    from charlm.runs import Run
    from charlm.task import Task


Command = Callable[..., None]


class _Command(TyperCommand):
    """A command that expands ``~`` in paths, and refuses an option that is given twice."""

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args
        paths = {str(each.name) for each in self.get_params(ctx) if is_path(each.metavar)}

        def parse_args(args: list[str]) -> Any:
            given, *rest = parse(args)
            for name in paths & given.keys():
                given[name] = with_home(given[name])
            return given, *rest

        parser.parse_args = parse_args
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        if not any(each.is_eager for each in given):  # such as --help
            for each in given:
                one = isinstance(each, TyperOption) and not (each.is_flag or each.multiple)
                if one and given.count(each) > 1:
                    raise UsageError(f"{' or '.join(each.opts)} is given twice", "give it once")
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """An app or a group of commands; it shows its help when no command is given."""

    def __init__(self, **about: Any) -> None:
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **about)

    def command(self, *name: Any, **about: Any) -> Any:
        """A decorator that adds a command, as in typer."""
        return super().command(*name, cls=_Command, **about)


def command_group(help: str) -> typer.Typer:
    """A group of commands that shows its help when no command is given."""
    return App(help=help)


def replace_parameter(
    command: Command, name: str, parameters: Sequence[inspect.Parameter], build: Callable[..., Any]
) -> Command:
    """The command with the keyword-only ``parameters`` in place of the parameter ``name``.

    ``build`` makes the value of the replaced parameter from the values of ``parameters``.
    """
    # Annotations are evaluated here, because typer does not know where they come from.
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        given = {each.name: values.pop(each.name) for each in parameters}
        command(**values, **{name: build(**given)})

    both: list[inspect.Parameter] = []
    for own in signature.parameters.values():
        keyword = own.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        both += parameters if own.name == name else [keyword]
    wrapper.__annotations__ = {each.name: each.annotation for each in both}
    vars(wrapper)["__signature__"] = inspect.Signature(both)
    return wrapper


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"charlm {version('charlm')}")
        raise typer.Exit


CorporaDir = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The folder of corpora. [default: $CHARLM_CORPORA, or corpora in the working folder]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only results, warnings and errors.")
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
]


def takes_output(command: Command) -> Command:
    """A decorator that gives a command the options that all commands take.

    The command's parameter ``output`` receives the `Output`. Every command takes --corpora-dir,
    even if it has no use for it, so that a script can give the same options to all.
    """
    own = inspect.signature(command).parameters
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(_output, eval_str=True).parameters.values()
        if each.name not in own
    ]
    return replace_parameter(command, "output", parameters, _output)


def _output(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> Output:
    output = Output(as_json=as_json, quiet=quiet)
    teller.tell = output.note
    return output


Split = Annotated[
    str | None,
    typer.Option(
        metavar="train|valid|test",
        help="The split to use. [default: test if there is one, else valid, else train]",
    ),
]
RUN = "a name under checkpoints, or a folder"
GivenRun = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help=f"The run: {RUN}. [default: the newest run]"),
]
GivenRuns = Annotated[
    list[str] | None,
    typer.Option("--run", metavar="RUN", help=f"The run: {RUN}. [default: the newest run]"),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|mps",
        help="The device to compute on. auto: CUDA if there is a GPU, else the CPU.",
    ),
]

NewRun = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="NAME|FOLDER",
        help=f"The run to make, or to resume: {RUN}. [default: "
        "checkpoints/<time>-<corpus>-<cell>; with --resume: the newest run]",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Resume a run exactly where it was saved. --epochs, --minutes and some other settings "
        "may change.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Train in N processes on this machine, which share each batch. [default: 1]",
    ),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="tensorboard",
        help="Also write the reports and samples for this program, into the run folder; you can "
        "add or drop it when you resume.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show all settings and the size of the model, without training."
    ),
]

Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="0-4",
        help="Train once for each of these seeds, such as 0-4 or 0,3,7, and show the spread. The "
        "runs are NAME-seed0 and so on.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Number of trainings that run at once, each in its own process."
    ),
]


def compared_corpus(run: Run, corpora_dir: Path | None, option: str) -> Any:
    """The run's text, with which an option of ``charlm generate`` compares.

    Raises:
        CorpusError: it has moved or changed.
    """
    try:
        return run.load_corpus(corpora_dir)
    except CharlmError as error:
        raise CorpusError(
            f"{option} compares with the run's text, but {error.message}",
            f"put the text back in its place, or leave out {option}",
        ) from None


def open_run(
    task: Task, run: str | Path | None, output: Output, *, weights: bool | Literal["best"] = "best"
) -> Run:
    """The named run, with its best weights; None: the newest run, whose name goes to stderr."""
    from charlm.runs import Run, newest_run

    if run is None:
        run = newest_run(task)
        output.note(f"run: {run}")
    opened = Run.open(run, task=task, weights=weights)
    for notice in opened.notices:
        output.warn(notice)
    return opened


def lines_given(arguments: list[str]) -> list[str]:
    """The arguments; if there is only ``-``, the lines of standard input."""
    if arguments != ["-"]:
        return arguments
    try:
        return read_text("-").text.removesuffix("\n").split("\n")
    except CorpusError as error:  # whose hints are about files
        raise CorpusError(error.message, "write lines of text to it, in UTF-8") from None
