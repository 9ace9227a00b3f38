"""``charlm generate``: text from a trained language model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli.copies import show_copies
from charlm.cli.files import check_file, check_not_read, write_whole
from charlm.cli.lines import Wanted, check_options, write_lines
from charlm.cli.options import CorporaDir, Device, GivenRun, compared_corpus, open_run, takes_output
from charlm.cli.output import Output
from charlm.cli.writer import Writer, blocks
from charlm.config.seeds import LARGEST_SEED
from charlm.corpus import read_text
from charlm.errors import CorpusError, UsageError, shown
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.language_model.config import TEMPERATURE, TOP_P

LENGTH = 300
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


@takes_output
def generate(
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Text to continue; an empty one starts a new text. [default: the run's first "
            "prefix]",
        ),
    ] = None,
    prefix_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Continue the text of this file, in UTF-8; - reads standard input. A line end at "
            "the end of the file is left out.",
        ),
    ] = None,
    run: GivenRun = None,
    length: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Number of characters to add. The text goes on to the next end of a sentence or "
            "line.",
        ),
    ] = LENGTH,
    exact_length: Annotated[
        bool, typer.Option("--exact-length", help="Add exactly --length characters.")
    ] = False,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help=r"End before this text, which is left out; \n is a line end. Can be repeated.",
        ),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always choose the most probable character.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Temperature of the sampling. Text is more predictable below 1 and less above 1. "
            f"[default: {TEMPERATURE}]",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(metavar="N", help="Sample only from the N most probable characters."),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Sample only from the most probable characters whose probabilities sum to F; 1: "
            f"from all. [default: {TOP_P}]",
        ),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of continuations.")
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=LARGEST_SEED,
            help="Seed of the sampling. [default: a new one each time, printed on stderr]",
        ),
    ] = None,
    new_only: Annotated[
        bool,
        typer.Option(
            "--new-only",
            help="With a run trained with --lines: leave out repeated lines, and lines that are "
            "already in the run's text.",
        ),
    ] = False,
    network_only: Annotated[
        bool,
        typer.Option(
            "--network-only",
            help="With a run that mixes the network with an n-gram (--mix-ngram): leave the n-gram "
            "out.",
        ),
    ] = False,
    copies: Annotated[
        bool,
        typer.Option(
            "--show-copies",
            help="Then show which passages are copied, word for word, from the training text, "
            "beside held-out text of the same length.",
        ),
    ] = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Continue each line that you type, until Ctrl-D."),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the text to this file, in UTF-8."),
    ] = None,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Continue a text with a trained language model.

    A model that was trained with --lines writes whole lines, one for each sample.
    """
    if greedy and not (temperature is top_k is top_p is None):
        raise UsageError(
            "--greedy cannot be combined with --temperature, --top-k or --top-p",
            "leave out --greedy or the sampling options",
        )
    if prefix is not None and prefix_file is not None:
        raise UsageError("--prefix and --prefix-file are both given", "give only one of them")
    if interactive:
        _check_interactive(
            {
                "--json": output.as_json,
                "--output": file is not None,
                "--num-samples": num_samples > 1,
                "--new-only": new_only,
                "--show-copies": copies,
                "--prefix-file -": prefix_file == "-",
            }
        )
    if file is not None:
        check_file("--output", file)
    from charlm.device import select_device
    from charlm.tasks.language_model.continuation import Ending
    from charlm.tasks.language_model.decoding import GREEDY, Decoding
    from charlm.tasks.language_model.mixture import read_mixture
    from charlm.tasks.language_model.prefix import text_start

    decoding = GREEDY
    if not greedy:
        temperature = TEMPERATURE if temperature is None else temperature
        decoding = Decoding(
            temperature=temperature, top_k=top_k, top_p=TOP_P if top_p is None else top_p
        )
    stops = tuple(map(_unescaped, stop or ()))
    ending = Ending(length=length, stops=stops, exact=exact_length)
    if prefix_file is not None:
        prefix = _read_prefix(prefix_file)
    opened = open_run(LANGUAGE_MODEL, run, output)
    if file is not None:
        check_not_read("--output", file, (prefix_file, opened.config.corpus.source))
        if file.exists():
            output.warn(f"{file} exists: the complete text will replace it; Ctrl-C keeps it")
    others = {"--exact-length": exact_length, "--stop": bool(stop), "--show-copies": copies}
    check_options(opened, new_only=new_only, others=others)
    corpus = compared_corpus(opened, corpora_dir, "--show-copies") if copies else None
    for text in stops:
        if unknown := opened.vocabulary.unknown_characters(text):
            characters = ", ".join(map(repr, unknown))
            output.warn(f"--stop {shown(text)} can never occur: {characters} not in the vocabulary")
    mixture, notice = (None, None) if network_only else read_mixture(opened)
    if notice is not None:
        output.warn(notice)
    if mixture is not None:
        output.note(f"mixture: {mixture.words}; --network-only leaves the n-gram out")
    model = opened.load_model().to(select_device(device))
    writer = Writer(opened, model, output, mixture=mixture, silent=file is not None)
    if interactive:
        from charlm.cli.interactive import interact

        interact(writer, prefix, ending, decoding, seed)
        return
    if prefix is None:
        prefix = next(iter(opened.config.training.prefixes), "")
    content: dict[str, Any]
    if opened.config.corpus.lines:
        wanted = Wanted(prefix, num_samples, length, new_only)
        content, flag = write_lines(writer, wanted, decoding, seed, corpora_dir)
        printed = [f"{line}\n" for line in content["samples"]]
    else:
        texts, seed, flag = writer.write(prefix, ending, decoding, seed, num_samples)
        printed = blocks(texts)
        content = {"run": str(opened.folder), "prefix": prefix, "text": texts[0], "seed": seed}
        content |= {"samples": texts} if num_samples > 1 else {}
    content["mixture"] = mixture and mixture.about()
    flag.raise_if_set()
    if file is not None:
        write_whole(file, "".join(printed).encode("utf-8", "surrogatepass"))
        output.note(f"text: {file}")
    if corpus is not None:
        before = len(text_start(opened, model, prefix).text)
        content["copies"] = show_copies(corpus, [text[before:] for text in texts], output)
    output.json(content)


def _unescaped(text: str) -> str:
    r"""The text with ``\n``, ``\t`` and ``\\`` as the characters that they stand for."""
    return re.sub(r"\\([nt\\])", lambda found: _ESCAPES[found[1]], text)


def _check_interactive(given: dict[str, bool]) -> None:
    """Raise a UsageError for an option that has no meaning with --interactive."""
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"--interactive cannot be combined with {option}", "leave out one of them"
            )


def _read_prefix(file: str) -> str:
    """The text of a file, without a line end at its end, which editors add.

    Raises:
        CorpusError: the file is missing or empty, or it is not a text in UTF-8.
    """
    try:
        if file != "-" and Path(file).is_dir():
            raise CorpusError(f"{file} is a folder")
        text = read_text(file).text.removesuffix("\n")
        if not text:
            raise CorpusError(f"{file} has an empty line and nothing else")
    except CorpusError as error:  # whose hints are about corpora
        what = "write a text in UTF-8 to it" if file == "-" else "name a text file in UTF-8"
        raise CorpusError(error.message, what) from None
    return text
