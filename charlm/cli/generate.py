"""``charlm generate``: text from a trained language model."""

from __future__ import annotations

from typing import Annotated

import typer

from charlm.cli.interrupts import polled
from charlm.cli.options import Device, RunFolder, open_run, takes_output
from charlm.cli.output import Output
from charlm.errors import UsageError
from charlm.tasks import LANGUAGE_MODEL

TEMPERATURE = 0.7


@takes_output
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
            help="Sample only from the most probable characters whose probabilities sum to F.",
        ),
    ] = None,
    num_samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of continuations.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Seed of the sampling.")
    ] = 0,
    device: Device = "auto",
    *,
    output: Output,
) -> None:
    """Continue a text with a trained language model."""
    if greedy and not (temperature is top_k is top_p is None):
        raise UsageError(
            "--greedy cannot be combined with --temperature, --top-k or --top-p",
            "leave out --greedy or the sampling options",
        )
    from charlm.device import select_device
    from charlm.tasks.language_model import decoding
    from charlm.tasks.language_model.prefix import prepare_prefix

    if temperature is None:
        temperature = 0.0 if greedy else TEMPERATURE
    how = decoding.Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    opened = open_run(LANGUAGE_MODEL, run, output)
    if prefix is None:
        prefix = next(iter(opened.config.training.prefixes), "")
    prepared = prepare_prefix(prefix, opened.corpus["cleaning"], opened.vocabulary)
    for notice in prepared.notices:
        output.warn(notice)
    model = opened.load_model().to(select_device(device))
    steps = decoding.generate(
        model, prepared.ids, length=length, decoding=how, num_samples=num_samples, seed=seed
    )
    # The first text is printed character by character, the others after it.
    texts = [prepared.text] * num_samples
    if num_samples > 1:
        output.text("--- 1 ---")
    output.text(prepared.text, end="")
    with polled() as stop:
        for chosen in steps:
            characters = [opened.vocabulary.decode([token]) for token in chosen.tolist()]
            texts = [text + character for text, character in zip(texts, characters, strict=True)]
            output.text(characters[0], end="")
            if stop():
                break
    output.text("")
    stop.raise_if_set()
    for number, text in enumerate(texts[1:], start=2):
        output.text(f"--- {number} ---")
        output.text(text)
    content = {"run": str(opened.folder), "prefix": prefix, "text": texts[0]}
    output.json(content if num_samples == 1 else {**content, "samples": texts})
