"""``charlm generate``: text from a trained language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.interrupts import polled
from charlm.cli.options import AsJson, CorporaDir, Device, Quiet, RunFolder, Version, open_run
from charlm.cli.output import Output
from charlm.errors import UsageError

if TYPE_CHECKING:
    import torch

    from charlm.generation.decoding import Decoding
    from charlm.generation.prefix import Prefix
    from charlm.runs import Run

TEMPERATURE = 0.7


def generate(
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Text to continue. [default: the run's first prefix]"),
    ] = None,
    run: RunFolder = None,
    length: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of characters to add.")
    ] = 300,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most probable character.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Divides the logits: below 1 the text is more predictable, above 1 less. "
            f"[default: {TEMPERATURE}]",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="N", help="Sample from the N most probable characters.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="F", help="Sample from the most probable characters that sum to probability F."
        ),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of continuations.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Seed of the sampling.")
    ] = 0,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Continue a text with a trained model."""
    if greedy and not (temperature is top_k is top_p is None):
        raise UsageError(
            "--greedy cannot be combined with --temperature, --top-k or --top-p",
            "leave out --greedy or the sampling options",
        )
    from charlm.device import select_device
    from charlm.generation.decoding import Decoding
    from charlm.generation.prefix import prepare_prefix
    from charlm.runs import Run

    if temperature is None:
        temperature = 0.0 if greedy else TEMPERATURE
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    output = Output(as_json=as_json, quiet=quiet)
    opened = open_run(Run, run, output)
    if prefix is None:
        prefix = next(iter(opened.config.training.prefixes), "")
    prepared = prepare_prefix(prefix, opened.corpus["cleaning"], opened.vocabulary)
    for notice in prepared.notices:
        output.warn(notice)
    texts = _stream(
        opened, prepared, length, decoding, num_samples, seed, select_device(device), output
    )
    content = {"run": str(opened.folder), "prefix": prefix, "text": texts[0]}
    output.json(content if num_samples == 1 else {**content, "samples": texts})


def _stream(
    run: Run,
    prefix: Prefix,
    length: int,
    decoding: Decoding,
    num_samples: int,
    seed: int,
    device: torch.device,
    output: Output,
) -> list[str]:
    """The generated texts; the first one is written while it grows, the others after it."""
    from charlm.generation.decoding import generate

    texts = [prefix.text] * num_samples
    if num_samples > 1:
        output.text("--- 1 ---")
    output.text(prefix.text, end="")
    with polled() as stop:
        for chosen in generate(
            run.load_model().to(device),
            prefix.ids,
            length=length,
            decoding=decoding,
            num_samples=num_samples,
            seed=seed,
        ):
            characters = [run.vocabulary.decode([token]) for token in chosen.tolist()]
            texts = [text + character for text, character in zip(texts, characters, strict=True)]
            output.text(characters[0], end="")
            if stop():
                break
    output.text("")
    stop.raise_if_set()
    for number, text in enumerate(texts[1:], start=2):
        output.text(f"--- {number} ---")
        output.text(text)
    return texts
