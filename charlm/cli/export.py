"""``charlm export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.cli.files import check_file, write_whole
from charlm.cli.options import GivenRun, open_run, takes_output
from charlm.cli.output import Output
from charlm.errors import UsageError
from charlm.tasks import LANGUAGE_MODEL

ENDINGS = {"--html": ".html", "--onnx": ".onnx", "--numpy": ".npz"}


@takes_output
def export(
    run: GivenRun = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE.html",
            help="A page that writes text with the model in a browser, without a network.",
        ),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx",
            metavar="FILE.onnx",
            help="One step of the model, with the state as input and output, for onnxruntime and "
            "others.",
        ),
    ] = None,
    numpy: Annotated[
        Path | None,
        typer.Option(
            "--numpy",
            metavar="FILE.npz",
            help="The weights and the operations of one step, for numpy.",
        ),
    ] = None,
    float32: Annotated[
        bool,
        typer.Option(
            "--float32",
            help="With --html: keep all digits of the weights, in a page of twice the size.",
        ),
    ] = False,
    *,
    output: Output,
) -> None:
    """Write a language model to a file that needs neither charlm nor torch.

    charlm reads each file back and compares it with the model, over a text of 200 characters.
    """
    files = {"--html": html, "--onnx": onnx, "--numpy": numpy}
    given = {option: file for option, file in files.items() if file is not None}
    if not given:
        raise UsageError(
            "no file to write is named", "give --html FILE, --onnx FILE or --numpy FILE"
        )
    if float32 and html is None:
        raise UsageError("--float32 is for --html", "leave out --float32")
    for option, file in given.items():
        check_file(option, file, ENDINGS[option])
    from charlm.tasks.language_model import mixture, model_page, onnx_file, plain

    opened: Any = open_run(LANGUAGE_MODEL, run, output)
    if (opened.folder / mixture.MANIFEST).exists():
        output.warn("the n-gram of --mix-ngram is left out: the file has the network alone")
    model = opened.load_model()
    exported = plain.plain_run(opened, model)
    step: plain.Step
    content: dict[str, Any] = {"run": str(opened.folder)}
    for option, file in given.items():
        if option == "--numpy":
            data = plain.numpy_file(exported)
            step = plain.read_numpy_file(data).step
        elif option == "--onnx":
            data = onnx_file.onnx_file(exported)
            step = onnx_file.onnx_step(data)
        else:
            packed = model_page.packed(exported, float32=float32)
            data = model_page.model_page(exported, packed)
            step = model_page.unpacked(exported, packed).step
        difference = plain.largest_difference(model, exported, step)
        write_whole(file, data)
        output.text(
            f"{file}: {len(data) / 1e6:.1f} MB; over {plain.CHECKED} characters, the logits are "
            f"those of the model within {difference:.1e}"
        )
        content[option[2:]] = {
            "file": str(file),
            "bytes": len(data),
            "largest_difference": difference,
        }
    output.json(content)
