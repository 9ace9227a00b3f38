"""``charlm verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from charlm.cli.options import AsJson, CorporaDir, Quiet, Version
from charlm.cli.output import Output
from charlm.errors import CharlmError


def verify(
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=2**63 - 1, help="Seed of weights and inputs.")
    ] = 0,
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Show that this package's own recurrent layers and torch's agree.

    Both get the same weights, inputs and first state, for two layers and 35 steps. The table has
    the largest absolute differences of outputs, final states and gradients.
    """
    from charlm.recurrent.parity import TOLERANCE, compare_all

    output = Output(as_json=as_json, quiet=quiet)
    found = compare_all(seed)
    output.json({"agreement": [vars(row) for row in found], "tolerance": TOLERANCE})
    output.table(
        ("cell", "type", "outputs", "states", "gradients", "allowed", ""),
        [
            (
                row.cell,
                row.dtype,
                *(f"{value:.1e}" for value in (row.outputs, row.states, row.gradients)),
                f"{TOLERANCE[row.dtype]:.0e}",
                "agree" if row.agree else "DIFFER",
            )
            for row in found
        ],
    )
    if not all(row.agree for row in found):
        raise CharlmError("scratch and torch layers differ here", "please report the table above")
