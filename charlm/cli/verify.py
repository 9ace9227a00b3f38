"""``charlm verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from charlm.cli.options import takes_output
from charlm.cli.output import Output
from charlm.config.seeds import LARGEST_SEED
from charlm.errors import CharlmError


@takes_output
def verify(
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of weights and inputs.")
    ] = 0,
    *,
    output: Output,
) -> None:
    """Check that charlm's own recurrent layers agree with torch's.

    Both get the same weights, inputs and first state, for two layers and 35 steps. The table shows
    the largest absolute differences between outputs, final states and gradients.
    """
    from charlm.recurrent.parity import TOLERANCE, compare_all

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
        raise CharlmError(
            "the scratch layers and the torch layers differ", "please report the table above"
        )
