"""``charlm explain``: worked examples, step by step."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from charlm.cli.options import command_group, takes_output
from charlm.cli.output import Output

if TYPE_CHECKING:
    from charlm.recurrent.examples import ClippingStep

app = command_group("Follow a recurrent network step by step, with small numbers.")
RADII = (0.9, 1.2)
CLIP_NORM = 0.25
SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100)


@app.command()
@takes_output
def memory(*, output: Output) -> None:
    """Memory: the same input twice gives two different outputs.

    The network has two inputs, two hidden units and two outputs. All weights are 1, there are no
    biases and no nonlinearity. A hidden unit is the sum of both inputs and both memories. An output
    is the sum of both hidden units.
    """
    from charlm.recurrent import examples

    orders = [examples.memory(), examples.memory([(2, 2), (1, 1), (1, 1)])]
    output.json({"orders": [[step._asdict() for step in steps] for steps in orders]})
    _say_what(output, memory)
    for number, steps in enumerate(orders):
        if number:
            output.text("\nThe same inputs in another order:\n")
        rows = [[str(s.step), *map(_numbers, (s.inputs, s.memory, s.outputs))] for s in steps]
        output.table(("step", "input", "memory", "output"), rows)


@app.command()
@takes_output
def lstm(*, output: Output) -> None:
    """The gates of an LSTM: one unit, whose inputs open and close them.

    The candidate is x1. x2 = 1 opens the input gate. x2 = -1 closes the forget gate, which clears
    the memory. x3 = 1 opens the output gate.
    """
    from charlm.recurrent.examples import lstm_by_hand

    steps = lstm_by_hand()
    output.json({"steps": [step._asdict() for step in steps]})
    _say_what(output, lstm)
    output.table(
        ("step", "x1 x2 x3", "input gate", "forget gate", "memory", "output gate", "output"),
        [
            (
                str(s.step),
                _numbers(s.inputs),
                *(f"{gate:.4f}" for gate in (s.input_gate, s.forget_gate)),
                f"{s.memory:.2f}",
                f"{s.output_gate:.4f}",
                f"{s.output:.2f}",
            )
            for s in steps
        ],
    )


@app.command()
@takes_output
def gradients(*, output: Output) -> None:
    """Why gradients vanish or explode: powers of a recurrent matrix.

    The table shows how much a small change of the first state grows or shrinks in 1 to 100 steps.
    The recurrent matrix is random. Its largest eigenvalue is just below 1 (0.9) or just above 1
    (1.2). The network is linear, or has tanh after each step.
    """
    from charlm.recurrent.examples import gradient_norms

    found = {radius: gradient_norms(radius) for radius in RADII}
    output.json({"norms": {str(r): [row._asdict() for row in rows] for r, rows in found.items()}})
    _say_what(output, gradients)
    table = []
    for step in SHOWN_STEPS:
        at_step = [rows[step - 1] for rows in found.values()]
        table.append([str(step), *(f"{n:.2e}" for row in at_step for n in (row.linear, row.tanh))])
    kinds = (f"{radius}{kind}" for radius in RADII for kind in ("", " with tanh"))
    output.table(("steps", *kinds), table)


@app.command()
@takes_output
def clipping(*, output: Output) -> None:
    """Why gradients are clipped: a network that blows up without it.

    The same network is trained twice on a bundled story, with SGD and a learning rate of 2. It
    has 64 hidden units with relu, which nothing bounds. Without clipping, one large gradient
    moves the weights so far that the next states overflow. With clipping, a gradient whose norm is
    larger than 0.25 is scaled down to it: the direction stays, the step is small.
    """
    from charlm.recurrent import examples
    from charlm.tasks.language_model.batches import id_tensor
    from charlm.tasks.language_model.corpus import load_corpus

    corpus = load_corpus("traveller", max_chars=4000)
    ids, size = id_tensor(corpus.ids).long(), len(corpus.vocabulary)
    found = [examples.clipping(ids, size, clip_norm) for clip_norm in (math.inf, CLIP_NORM)]
    without, clipped = ({each.step: each for each in steps} for steps in found)
    blown_up = max(without)
    keys = ("without_clipping", "with_clipping")
    output.json(
        {
            "clip_norm": CLIP_NORM,
            **{
                key: [
                    {name: _finite(value) for name, value in each._asdict().items()}
                    for each in steps
                ]
                for key, steps in zip(keys, found, strict=True)
            },
        }
    )
    _say_what(output, clipping)
    shown = sorted({*without, *range(10, max(clipped) + 1, 10)})
    rows = [
        [str(step), *(word for steps in (without, clipped) for word in _loss_words(steps, step))]
        for step in shown
    ]
    output.table(("step", "loss", "norm", "loss, clipped", "norm before clipping"), rows)
    output.text(
        f"\nWithout clipping, the numbers are not finite at step {blown_up}, and training ends.\n"
        f"Clipped at {CLIP_NORM:g}, the same network learns. The loss is in nats per character."
    )


@app.command()
@takes_output
def parameters(*, output: Output) -> None:
    """Number of parameters of each cell, and of a classifier."""
    from charlm.recurrent.examples import cell_counts, classifier_counts

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


def _say_what(output: Output, command: Callable[..., None]) -> None:
    """Write what the tables of the command show: its docstring, in lines of 80 characters."""
    for paragraph in (inspect.getdoc(command) or "").split("\n\n"):
        output.text(textwrap.fill(paragraph, 80) + "\n")


def _finite(value: float) -> float | None:
    """A number for JSON, which has no infinities."""
    return value if math.isfinite(value) else None


def _loss_words(steps: Mapping[int, ClippingStep], step: int) -> tuple[str, str]:
    if step not in steps:
        return "", ""
    found = steps[step]
    return f"{found.loss:.3g}", f"{found.norm:.3g}"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
