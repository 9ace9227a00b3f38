"""Each cell against its equations, written out with plain products, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.cells import CELLS
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.states import HiddenState, JordanState, LSTMState, map_state

BATCH, INPUTS, HIDDEN, OUTPUTS = 3, 5, 4, 2
STATES = {"rnn": HiddenState, "gru": HiddenState, "lstm": LSTMState, "jordan": JordanState}

ALL = {
    **{name: kind.scratch for name, kind in CELLS.items()},
    "rnn-linear": partial(ElmanCell, nonlinearity="linear"),
    "jordan-sigmoid": partial(JordanCell, output_size=OUTPUTS, activation="sigmoid"),
    "jordan-softmax": partial(JordanCell, output_size=OUTPUTS, activation="softmax"),
    "jordan-linear": partial(JordanCell, output_size=OUTPUTS, activation="linear"),
}

cells = pytest.mark.parametrize("name", CELLS)
all_cells = pytest.mark.parametrize("name", ALL)


def cell_of(name: str):
    """Large weights, so that every gate matters."""
    cell = ALL[name](input_size=INPUTS, hidden_size=HIDDEN).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state(cell):
    return map_state(torch.randn_like, cell.initial_state(BATCH))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def softmax(x: Tensor) -> Tensor:
    return x.exp() / x.exp().sum(1, keepdim=True)


def tanh(x: Tensor) -> Tensor:
    return 2 * sigmoid(2 * x) - 1


def gates(weight: Tensor) -> list[Tensor]:
    """The columns of each gate."""
    return [weight[..., start : start + HIDDEN] for start in range(0, weight.shape[-1], HIDDEN)]


def elman(cell, x, h, activation):
    return (activation(x @ cell.weight_input + h @ cell.weight_hidden + cell.bias),)


def gru(cell, x, h, reset):
    (wr, wz, wn), (ur, uz, un), (br, bz, bn) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    r = sigmoid(x @ wr + h @ ur + br)
    z = sigmoid(x @ wz + h @ uz + bz)
    if reset == "before":
        n = tanh(x @ wn + (r * h) @ un + bn)
    else:
        n = tanh(x @ wn + bn + r * (h @ un + cell.bias_candidate))
    return ((1 - z) * n + z * h,)


def lstm(cell, x, h, c, peephole=lambda _: 0.0):
    (wi, wf, wg, wo), (ui, uf, ug, uo), (bi, bf, bg, bo) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    i = sigmoid(x @ wi + h @ ui + bi + peephole("input") * c)
    f = sigmoid(x @ wf + h @ uf + bf + peephole("forget") * c)
    g = tanh(x @ wg + h @ ug + bg)
    c = f * c + i * g
    o = sigmoid(x @ wo + h @ uo + bo + peephole("output") * c)
    return o * tanh(c), c


def lstm_peephole(cell, x, h, c):
    return lstm(cell, x, h, c, lambda gate: getattr(cell, f"peephole_{gate}"))


def jordan(cell, x, y, activation):
    h = tanh(x @ cell.weight_input + y @ cell.weight_hidden + cell.bias)
    return (activation(h @ cell.weight_output + cell.bias_output),)


EQUATIONS = {
    "rnn": partial(elman, activation=tanh),
    "rnn-relu": partial(elman, activation=lambda x: x * (x > 0)),
    "rnn-linear": partial(elman, activation=lambda x: x),
    "gru": partial(gru, reset="after"),
    "gru-reset-before": partial(gru, reset="before"),
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "jordan": partial(jordan, activation=tanh),
    "jordan-sigmoid": partial(jordan, activation=sigmoid),
    "jordan-softmax": partial(jordan, activation=softmax),
    "jordan-linear": partial(jordan, activation=lambda x: x),
}


@all_cells
@pytest.mark.parametrize("seed", range(3))
def test_two_steps_are_the_equation(name, seed):
    torch.manual_seed(seed)
    cell = cell_of(name)
    state = wanted = random_state(cell)
    for x in torch.randn(2, BATCH, INPUTS).double():
        output, state = cell(x, state)
        wanted = EQUATIONS[name](cell, x, *wanted)
        assert type(state) is type(cell.initial_state(1))
        torch.testing.assert_close(tuple(state), wanted, rtol=0, atol=1e-12)
        assert torch.equal(output, state[0])


@all_cells
def test_gradients_of_a_step(name, gradcheck):
    cell = cell_of(name)
    assert gradcheck(cell, torch.randn(BATCH, INPUTS).double(), random_state(cell))


@cells
@pytest.mark.parametrize("shape", [(BATCH,), (7, BATCH)], ids=["a step", "many steps"])
def test_projected_ids_are_projected_one_hot_features(name, shape):
    cell = cell_of(name)
    ids = torch.randint(INPUTS, shape)
    ids[..., 0] = ids[..., 1]  # the same row twice, so that gradients must add up
    weights = torch.randn(*shape, cell.bias.numel()).double()
    gradients = []
    for xs in (ids, F.one_hot(ids, INPUTS).double()):
        cell.zero_grad()
        projected = cell.project(xs)
        assert projected.shape == weights.shape
        (projected * weights).sum().backward()
        gradients.append((projected, cell.weight_input.grad, cell.bias.grad))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rnn", 7 * 11 + 11 * 11 + 11),
        ("rnn-relu", 7 * 11 + 11 * 11 + 11),
        ("gru", 3 * (7 * 11 + 11 * 11 + 11) + 11),
        ("gru-reset-before", 3 * (7 * 11 + 11 * 11 + 11)),
        ("lstm", 4 * (7 * 11 + 11 * 11 + 11)),
        ("lstm-peephole", 4 * (7 * 11 + 11 * 11 + 11) + 3 * 11),
        ("jordan", (7 * 11 + 11 * 11 + 11) + (11 * 11 + 11)),
        ("jordan-softmax", (7 * 11 + 2 * 11 + 11) + (11 * 2 + 2)),
    ],
)
def test_parameter_counts(name, count):
    cell = ALL[name](input_size=7, hidden_size=11)
    assert sum(parameter.numel() for parameter in cell.parameters()) == count
    assert (cell.input_size, cell.output_size) == (7, OUTPUTS if name == "jordan-softmax" else 11)


@all_cells
def test_initial_states_are_zeros_of_the_type_of_the_weights(name):
    cell = cell_of(name)
    state = cell.initial_state(BATCH)
    assert isinstance(state, STATES[name.partition("-")[0]])
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(BATCH, cell.output_size, dtype=torch.float64))
    assert len({tensor.data_ptr() for tensor in state}) == len(state)
