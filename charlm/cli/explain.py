"""``charlm explain``: worked examples, step by step."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from charlm.cli.options import AsJson, CorporaDir, Quiet, Version
from charlm.cli.output import Output

app = typer.Typer(
    help="Follow a recurrent network step by step, on examples that can be checked by hand.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
RADII = (0.9, 1.2)
SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100)


@app.command()
def memory(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Memory of a recurrent network: the same input twice gives two different outputs.

    The network has two inputs, two hidden units and two outputs. All weights are 1, there are no
    biases and no nonlinearity. A hidden unit is the sum of both inputs and both memories, and an
    output is the sum of both hidden units.
    """
    from charlm.recurrent.examples import memory

    output = Output(as_json=as_json, quiet=quiet)
    orders = [memory(), memory([(2, 2), (1, 1), (1, 1)])]
    output.json({"orders": [[step._asdict() for step in steps] for steps in orders]})
    for number, steps in enumerate(orders):
        if number:
            output.text("\nThe same inputs in another order:\n")
        output.table(
            ("step", "input", "memory", "output"),
            [
                (str(s.step), _numbers(s.inputs), _numbers(s.memory), _numbers(s.outputs))
                for s in steps
            ],
        )


@app.command()
def lstm(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """The gates of an LSTM: one unit, and inputs that open and close its gates.

    The candidate is x1. x2 = 1 opens the input gate. x2 = -1 closes the forget gate, which clears
    the memory. x3 = 1 opens the output gate.
    """
    from charlm.recurrent.examples import lstm_by_hand

    output = Output(as_json=as_json, quiet=quiet)
    steps = lstm_by_hand()
    output.json({"steps": [step._asdict() for step in steps]})
    output.table(
        ("step", "x1 x2 x3", "input gate", "forget gate", "memory", "output gate", "output"),
        [
            (
                str(s.step),
                _numbers(s.inputs),
                f"{s.input_gate:.4f}",
                f"{s.forget_gate:.4f}",
                f"{s.memory:.2f}",
                f"{s.output_gate:.4f}",
                f"{s.output:.2f}",
            )
            for s in steps
        ],
    )


@app.command()
def gradients(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Why gradients vanish or explode: powers of a recurrent matrix.

    The table shows how much a change of the first state has grown or shrunk after 1 to 100 steps.
    The matrix is random, its largest eigenvalue is just below or just above 1. The steps are
    linear, or with tanh.
    """
    from charlm.recurrent.examples import gradient_norms

    output = Output(as_json=as_json, quiet=quiet)
    found = {radius: gradient_norms(radius) for radius in RADII}
    output.json({"norms": {str(r): [row._asdict() for row in rows] for r, rows in found.items()}})
    output.table(
        ("steps", *(f"{radius}{kind}" for radius in RADII for kind in ("", " with tanh"))),
        [
            (
                str(step),
                *(
                    f"{value:.2e}"
                    for rows in found.values()
                    for value in (rows[step - 1].linear, rows[step - 1].tanh)
                ),
            )
            for step in SHOWN_STEPS
        ],
    )


@app.command()
def parameters(
    corpora_dir: CorporaDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Numbers of parameters: one layer of each cell, and a classifier of reviews."""
    from charlm.recurrent.examples import cell_counts, classifier_counts

    output = Output(as_json=as_json, quiet=quiet)
    tables = {"one layer, 32 inputs, 32 units": cell_counts(), "classifier": classifier_counts()}
    output.json(
        {
            name: [{**row._asdict(), "total": row.total} for row in rows]
            for name, rows in tables.items()
        }
    )
    for number, (name, rows) in enumerate(tables.items()):
        if number:
            output.text("")
        output.table(
            (name, "weights", "biases", "total"),
            [(row.part, *(f"{n:,}" for n in (row.weights, row.biases, row.total))) for row in rows],
        )


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
