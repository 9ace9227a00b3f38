"""``charlm explain``: worked examples, step by step."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from charlm.cli.options import command_group, takes_output
from charlm.cli.output import Output
from charlm.errors import shown

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
def gru(*, output: Output) -> None:
    """The gates of a GRU: one unit, whose inputs open and close them.

    The candidate is tanh(x1 + reset gate * last output). The output is the candidate where the
    update gate is 0, and the last output where it is 1. x2 = 1 closes the update gate: the unit
    takes the candidate. x3 = 1 closes the reset gate: the candidate forgets the last output.

    Steps 1 and 2 add 0.5 each, inside the tanh. Step 3 keeps the output, whatever x1 is. Step 4
    begins again, from -0.2. Step 5 keeps that. In step 6 the update gate is half open, and the
    output is the mean of the candidate and the last output.
    """
    from charlm.recurrent.examples import gru_by_hand

    steps = gru_by_hand()
    output.json({"steps": [step._asdict() for step in steps]})
    _say_what(output, gru)
    output.table(
        ("step", "x1 x2 x3", "reset gate", "update gate", "candidate", "output"),
        [
            (
                str(s.step),
                _numbers(s.inputs),
                *(f"{value:.4f}" for value in s[2:]),
            )
            for s in steps
        ],
    )


@app.command()
@takes_output
def perplexity(*, output: Output) -> None:
    """Perplexity: from probabilities through nats and bits, by hand.

    A bigram predicts each character of "banana" from the one before it. It has counted the same
    text, with one added to each count, so that nothing is impossible: "n" follows "a" 2 times of
    2, and there are 3 different characters, so P(n | a) = (2 + 1) / (2 + 3) = 0.6.

    A character of probability P costs -ln P nats, or -log2 P bits. The perplexity is exp of the
    mean in nats, or 2 to the power of the mean in bits: both give the same number. The first
    character is not predicted.
    """
    from charlm.tasks.language_model.examples import equal_choices, perplexity_by_hand

    found, choices = perplexity_by_hand(), equal_choices()
    output.json(
        {
            **found._asdict(),
            "characters": [each._asdict() for each in found.characters],
            "equal_choices": [each._asdict() for each in choices],
        }
    )
    _say_what(output, perplexity)
    rows = [
        (
            *(shown(each.before), shown(each.character)),
            f"({each.following} + 1) / ({each.all_following} + {found.different})",
            *(f"{value:.4f}" for value in (each.probability, each.nats, each.bits)),
        )
        for each in found.characters
    ]
    mean = ("mean", "", "", "", *(f"{v:.4f}" for v in (found.nats_per_char, found.bits_per_char)))
    header = ("before", "character", "count", "probability", "nats", "bits")
    output.table(header, [*rows, mean], left=3)
    output.text(
        f"\nperplexity exp({found.nats_per_char:.4f}) = 2 ^ {found.bits_per_char:.4f} = "
        f"{found.perplexity:.4f}"
    )
    words = (
        f"The bigram is as unsure as if it had to choose among {found.perplexity:.2f} equally "
        "likely characters each time. With k equally likely characters the perplexity is k. A "
        f"model that knows nothing about this text has the perplexity {found.different}, the "
        "number of its different characters; for a text of letters and spaces it is 27."
    )
    output.text(f"\n{textwrap.fill(words, 80)}\n")
    output.table(
        ("equally likely", "probability of each", "nats", "bits", "perplexity"),
        [
            (
                str(each.characters),
                *(f"{v:.4f}" for v in (each.probability, each.nats, each.bits)),
                f"{each.perplexity:.2f}",
            )
            for each in choices
        ],
    )


@app.command()
@takes_output
def sampling(*, output: Output) -> None:
    """Random and consecutive sampling: which characters are in which batch.

    The text is "the time traveller smiled", 25 characters. A batch has 2 rows of 4 characters. The
    targets are the inputs, one character later: so 24 characters are inputs, in 3 batches. In a
    training, each epoch skips a random number of characters at the start; here it is 0.

    Random sampling cuts the text into pieces and shuffles them. A piece follows the one in the
    batch before only by chance, so each begins with a state of zeros, and nothing can be learned
    from more than 4 characters back.

    Consecutive sampling cuts the text into 2 long rows, which the batches read side by side. A row
    goes on where it ended in the batch before, so the state is carried over: it has read all of the
    row. The gradient is not carried; it ends at the start of each batch.
    """
    from charlm.tasks.language_model.examples import samplings

    found = samplings()
    output.json({name: [row._asdict() for row in rows] for name, rows in found.items()})
    _say_what(output, sampling)
    for number, (name, rows) in enumerate(found.items()):
        output.text(f"{chr(10) * bool(number)}{name} sampling")
        cells = [
            (
                *map(str, (each.batch, each.row)),
                *map(shown, (each.inputs, each.targets)),
                shown(each.state) if each.state else "nothing: zeros",
            )
            for each in rows
        ]
        output.table(("batch", "row", "inputs", "targets", "the state has read"), cells, left=5)


@app.command()
@takes_output
def gradients(*, output: Output) -> None:
    """Why gradients vanish or explode: powers of a recurrent matrix.

    A small change of the first state grows or shrinks by the same factor as a gradient that goes
    back as many steps. The table shows the largest such factor after 1 to 100 steps: the norm of
    d h_k / d h_0. The recurrent matrix is random. Its largest eigenvalue is just below 1 (0.9) or
    just above 1 (1.2). The network is linear, or has tanh after each step.
    """
    from charlm.recurrent.examples import gradient_norms

    found = {radius: gradient_norms(radius) for radius in RADII}
    output.json({"norms": {str(r): [row._asdict() for row in rows] for r, rows in found.items()}})
    _say_what(output, gradients)
    below, above = (rows[-1] for rows in found.values())
    words = (
        f"After {below.steps} steps, {below.linear:.0e} of a change is left with the eigenvalue "
        f"{RADII[0]} in the linear network, and {below.tanh:.0e} with tanh. With {RADII[1]} it has "
        f"grown {above.linear:.0e} times, but only {above.tanh:.0f} times with tanh, which "
        "saturates."
    )
    output.text(f"{textwrap.fill(words, 80)}\n")
    table = []
    for step in SHOWN_STEPS:
        at_step = [rows[step - 1] for rows in found.values()]
        table.append([str(step), *(f"{n:.2e}" for row in at_step for n in (row.linear, row.tanh))])
    output.text("norm of d h_k / d h_0, by the largest eigenvalue")
    kinds = (f"{radius}, {kind}" for radius in RADII for kind in ("linear", "tanh"))
    output.table(("steps k", *kinds), table)


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
    output.text("loss in nats per character, and norm of the gradient before any clipping")
    header = ("step", "loss, unclipped", "norm, unclipped", "loss, clipped", "norm, clipped")
    output.table(header, rows)
    output.text(
        f"\nWithout clipping, the numbers are not finite at step {blown_up}, and training ends.\n"
        f"Clipped at {CLIP_NORM:g}, the same network learns."
    )


@app.command()
@takes_output
def parameters(*, output: Output) -> None:
    """Number of parameters of each cell, and of a classifier.

    A network without gates with I inputs and H units has (I + H) H weights and H biases; a gate has
    as many again. Here I = H = 32: (32 + 32) 32 = 2,048 weights.
    """
    from charlm.recurrent.examples import cell_counts, classifier_counts

    tables = {"one layer, 32 inputs, 32 units": cell_counts(), "classifier": classifier_counts()}
    output.json(
        {
            name: [{**row._asdict(), "total": row.total} for row in rows]
            for name, rows in tables.items()
        }
    )
    _say_what(output, parameters)
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
