"""``charlm serve``: the playground, a page in the browser."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from charlm.cli.options import RUN, CorporaDir, Device, open_run, takes_output
from charlm.cli.output import Output
from charlm.serve import HOST, PORT
from charlm.tasks import LANGUAGE_MODEL


@takes_output
def serve(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help=f"The runs: {RUN}. Two can write side by side. [default: the newest run]",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0: a free one.")
    ] = PORT,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The address to listen at. One that other machines can reach needs --remote.",
        ),
    ] = HOST,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote",
            help="Let other machines use the playground. The address that is printed has a token, "
            "and whoever has it may use the models. Nothing is encrypted.",
        ),
    ] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    device: Device = "auto",
    corpora_dir: CorporaDir = None,
    *,
    output: Output,
) -> None:
    """Write with trained language models on a page in the browser.

    Type a prefix, watch the text grow, change how it is drawn, and choose other characters. Ctrl-C
    ends it.
    """
    from charlm.device import select_device
    from charlm.serve.models import Served
    from charlm.serve.server import listen

    chosen = select_device(device)
    models = []
    for name in runs or (None,):
        opened: Any = open_run(LANGUAGE_MODEL, name, output)
        model, notice = Served.load(opened, chosen, corpora_dir)
        if notice is not None:
            output.warn(notice)
        models.append(model)

    ready = listen(models, host, port, remote=remote)
    output.json({"address": ready.address, "runs": [str(each.run.folder) for each in models]})
    output.text(ready.address)
    output.note("open this address in a browser; Ctrl-C ends the playground")
    if browser:
        import webbrowser

        webbrowser.open(ready.address)
    ready.run()
