"""Worked examples: networks of this package that are small enough to check by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.linalg import matrix_norm

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import build_layer
from charlm.recurrent.cells import CELLS
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.lstm import LSTMCell


class MemoryStep(NamedTuple):
    """A step of `memory`."""

    step: int
    inputs: list[float]  # (2,)
    memory: list[float]  # (2,), the hidden units after the last step
    outputs: list[float]  # (2,)


@torch.no_grad()
def memory(inputs: Sequence[Sequence[float]] = ((1, 1), (1, 1), (2, 2))) -> list[MemoryStep]:
    """An Elman network with two inputs, two hidden units and two outputs that adds numbers up.

    All weights are 1, there are no biases and no nonlinearity. Each hidden unit is the sum of both
    inputs and both memories, and each output is the sum of both hidden units.
    """
    cell = ElmanCell(2, 2, nonlinearity="linear")
    for parameter in cell.parameters():
        nn.init.ones_(parameter)
    nn.init.zeros_(cell.bias)
    state = cell.initial_state(1)
    steps = []
    for number, x in enumerate(inputs, start=1):
        before = state.hidden[0].tolist()
        hidden, state = cell(torch.tensor([x], dtype=torch.float32), state)
        steps.append(MemoryStep(number, [*map(float, x)], before, [float(hidden.sum())] * 2))
    return steps


class LSTMStep(NamedTuple):
    """A step of `lstm_by_hand`."""

    step: int
    inputs: list[float]  # (3,)
    input_gate: float
    forget_gate: float
    output_gate: float
    memory: float  # the cell after the step
    output: float


@torch.no_grad()
def lstm_by_hand(
    inputs: Sequence[Sequence[float]] = ((3, 1, 0), (4, 1, 0), (2, 0, 0), (1, 0, 1), (3, -1, 0)),
) -> list[LSTMStep]:
    """An LSTM of one unit. The second and the third input open and close its gates.

    ::

        candidate   = x1
        input gate  = sigmoid(100 x2 - 10)     open where x2 = 1
        forget gate = sigmoid(100 x2 + 10)     closed where x2 = -1, else open: the memory stays
        output gate = sigmoid(100 x3 - 10)     open where x3 = 1

    Both tanh are left out. A step has three inputs.
    """
    cell = LSTMCell(3, 1, peepholes=False, nonlinearity="linear")
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    # The gates' columns: input, forget, candidate, output.
    cell.weight_input[1, 0] = cell.weight_input[1, 1] = cell.weight_input[2, 3] = 100
    cell.weight_input[0, 2] = 1
    cell.bias.copy_(torch.tensor([-10.0, 10.0, 0.0, -10.0]))
    state = cell.initial_state(1)
    steps = []
    for number, x in enumerate(inputs, start=1):
        x_row = torch.tensor([x], dtype=torch.float32)
        # The hidden weights are 0, so the gates depend on the input alone.
        gates = torch.sigmoid(cell.project(x_row))[0].tolist()
        output, state = cell(x_row, state)
        results = *gates[:2], gates[3], float(state.cell), float(output)
        steps.append(LSTMStep(number, [*map(float, x)], *results))
    return steps


class GRUStep(NamedTuple):
    """A step of `gru_by_hand`."""

    step: int
    inputs: list[float]  # (3,)
    reset_gate: float
    update_gate: float
    candidate: float
    output: float  # the hidden unit after the step


@torch.no_grad()
def gru_by_hand(
    inputs: Sequence[Sequence[float]] = (
        *((0.5, 1, 0), (0.5, 1, 0), (0.9, 0, 0)),
        *((-0.2, 1, 1), (0.3, 0, 0), (1, 0.5, 1)),
    ),
) -> list[GRUStep]:
    """A GRU of one unit. The second and the third input open and close its gates.

    ::

        reset gate  r = sigmoid(10 - 20 x3)     closed where x3 = 1, else open
        update gate z = sigmoid(10 - 20 x2)     closed where x2 = 1, half open where x2 = 0.5
        candidate   n = tanh(x1 + r h)
        output      h' = (1 - z) n + z h

    Both kinds of `GRUCell` give these numbers, because the recurrent weight is 1. A step has three
    inputs.
    """
    cell = GRUCell(3, 1, reset="after")
    for parameter in cell.parameters():
        nn.init.zeros_(parameter)
    # The gates' columns: reset, update, candidate.
    cell.weight_input[2, 0] = cell.weight_input[1, 1] = -20
    cell.weight_input[0, 2] = cell.weight_hidden[0, 2] = 1
    cell.bias.copy_(torch.tensor([10.0, 10.0, 0.0]))
    state = cell.initial_state(1)
    steps = []
    for number, x in enumerate(inputs, start=1):
        x_row = torch.tensor([x], dtype=torch.float32)
        projected = cell.project(x_row)[0]
        reset, update = torch.sigmoid(projected[:2]).tolist()  # they depend on the input alone
        candidate = math.tanh(float(projected[2]) + reset * float(state.hidden))
        output, state = cell(x_row, state)
        found = reset, update, candidate, float(output)
        steps.append(GRUStep(number, [*map(float, x)], *found))
    return steps


class GradientNorms(NamedTuple):
    """How much a change of the first state has grown or shrunk after k steps."""

    steps: int
    linear: float  # spectral norm of d h_k / d h_0, where h' = h W
    tanh: float  # the same for h' = tanh(h W), from a random first state


def gradient_norms(
    spectral_radius: float, *, steps: int = 100, size: int = 32, seed: int = 0
) -> list[GradientNorms]:
    """Norms of the powers of a recurrent matrix, the factors of backpropagation through time.

    Bengio, Simard and Frasconi (1994), "Learning long-term dependencies with gradient descent is
    difficult"; Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks".

    Args:
        spectral_radius: largest modulus of the matrix's eigenvalues. Below 1 the powers vanish;
            above 1 they explode, unless tanh limits them.
        size: of the matrix, (size, size), with normally distributed entries.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, size, generator=generator, dtype=torch.float64)
    weight = drawn * (spectral_radius / float(torch.linalg.eigvals(drawn).abs().max()))
    hidden = torch.randn(size, generator=generator, dtype=torch.float64)
    linear = saturated = torch.eye(size, dtype=torch.float64)
    norms = []
    for step in range(1, steps + 1):
        linear = linear @ weight
        hidden = torch.tanh(hidden @ weight)
        saturated = saturated @ weight * (1 - hidden**2)  # the derivative of tanh, by column
        spectral = (float(matrix_norm(matrix, ord=2)) for matrix in (linear, saturated))
        norms.append(GradientNorms(step, *spectral))
    return norms


class ClippingStep(NamedTuple):
    """A step of `clipping`."""

    step: int
    loss: float  # nats per character
    norm: float  # global gradient norm before clipping


def clipping(ids: Tensor, vocabulary_size: int, clip_norm: float) -> list[ClippingStep]:
    """Train a small network with SGD, with or without gradient clipping.

    One Elman layer of 64 units with relu, which nothing bounds, reads one-hot characters. Pascanu,
    Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    Args:
        ids: (N,) int64 token ids, N > 560. The batches are 16 rows of 35 steps, in order, each from
            a zero state.
        clip_norm: largest global gradient norm; infinite: no clipping.

    Returns:
        60 steps, or fewer if the loss or the norm is not finite: that step is the last.
    """
    rows, steps, learning_rate, updates = 16, 35, 2.0, 60
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = build_layer("rnn-relu", "scratch", input_size=vocabulary_size, hidden_size=64)
        head = nn.Linear(layer.output_size, vocabulary_size)
    weights = [*layer.parameters(), *head.parameters()]
    length = (len(ids) - 1) // rows
    inputs, targets = (ids[first:][: rows * length].view(rows, length).T for first in (0, 1))
    batches = [slice(begin, begin + steps) for begin in range(0, length - steps + 1, steps)]
    found = []
    for step in range(1, updates + 1):
        batch = batches[(step - 1) % len(batches)]
        outputs, _ = layer(inputs[batch], layer.initial_state(rows))
        loss = F.cross_entropy(head(outputs).flatten(0, 1), targets[batch].flatten())
        gradients = torch.autograd.grad(loss, weights)
        norm = float(nn.utils.get_total_norm(gradients))
        found.append(ClippingStep(step, float(loss.detach()), norm))
        if not (math.isfinite(found[-1].loss) and math.isfinite(norm)):
            break
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(learning_rate * min(1.0, clip_norm / norm) * gradient)
    return found


class ParameterCount(NamedTuple):
    """The numbers of weights and biases of a part of a network."""

    part: str
    weights: int
    biases: int

    @property
    def total(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


def cell_counts(input_size: int = 32, hidden_size: int = 32) -> list[ParameterCount]:
    """The parameter counts of one layer of each cell. A gate has (I + H) H weights and H biases."""
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    return [_count(name, kind.scratch(**sizes)) for name, kind in CELLS.items()]


def classifier_counts(
    *, words: int = 10_000, embedding_size: int = 32, hidden_size: int = 64, dense_size: int = 64
) -> list[ParameterCount]:
    """The parameter counts of a classifier: embedding, bidirectional LSTM, dense layer, output."""
    sizes: dict[str, Any] = {"input_size": embedding_size, "hidden_size": hidden_size}
    layer = Bidirectional(*(build_layer("lstm", "scratch", **sizes) for _ in range(2)))
    parts = {
        f"embedding, {words:,} words": nn.Embedding(words, embedding_size),
        f"LSTM of {hidden_size}, both directions": layer,
        f"dense layer of {dense_size}": nn.Linear(layer.output_size, dense_size),
        "output": nn.Linear(dense_size, 1),
    }
    counts = [_count(name, part) for name, part in parts.items()]
    sums = [sum(getattr(count, kind) for count in counts) for kind in ("weights", "biases")]
    return [*counts, ParameterCount("together", *sums)]


def _count(name: str, part: nn.Module) -> ParameterCount:
    """A peephole is a weight, although it is a vector."""
    biases = sum(p.numel() for key, p in part.named_parameters() if "bias" in key)
    return ParameterCount(name, sum(p.numel() for p in part.parameters()) - biases, biases)
