"""Each cell against its equations, written out with plain products, in float64."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.cells import CELLS
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.mogrifier import MogrifierCell
from charlm.recurrent.states import HiddenState, JordanState, LSTMState, map_state

BATCH, INPUTS, HIDDEN, OUTPUTS = 3, 5, 4, 2
STATES = {
    **dict.fromkeys(("rnn", "gru", "mingru", "minlstm"), HiddenState),
    **dict.fromkeys(("lstm", "mlstm", "mogrifier"), LSTMState),
    "jordan": JordanState,
}

ALL = {
    **{name: kind.scratch for name, kind in CELLS.items()},
    "rnn-linear": partial(ElmanCell, nonlinearity="linear"),
    "mogrifier-rank": partial(MogrifierCell, rounds=2, rank=3),
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


def normalised(values, gain):
    deviation = (values.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return (1 + gain) * (values - values.mean(1, keepdim=True)) / deviation


def lstm_layer_norm(cell, x, h, c):
    from_input = normalised(x @ cell.weight_input, cell.gain_input)
    i, f, g, o = gates(
        from_input + normalised(h @ cell.weight_hidden, cell.gain_hidden) + cell.bias
    )
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(normalised(c, cell.gain_cell) + cell.bias_cell), c


def gru_layer_norm(cell, x, h):
    two = 2 * HIDDEN
    from_input, from_hidden = (
        [
            normalised((values @ weight)[:, part], gain[part])
            for part in (slice(two), slice(two, None))
        ]
        for values, weight, gain in (
            (x, cell.weight_input, cell.gain_input),
            (h, cell.weight_hidden, cell.gain_hidden),
        )
    )
    r, z = gates(sigmoid(from_input[0] + from_hidden[0] + cell.bias[:two]))
    n = tanh(from_input[1] + cell.bias[two:] + r * (from_hidden[1] + cell.bias_candidate))
    return ((1 - z) * n + z * h,)


def mlstm(cell, x, h, c):
    (wm, *_), (um, *_), (bm, *_) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    m = (x @ wm + bm) * (h @ um)
    rest = SimpleNamespace(
        weight_input=cell.weight_input[:, HIDDEN:],
        weight_hidden=cell.weight_hidden[:, HIDDEN:],
        bias=cell.bias[HIDDEN:],
    )
    return lstm(rest, x, m, c)


def mogrifier(cell, x, h, c, rank=False):
    for number, names in enumerate(cell.rounds, 1):
        matrix = getattr(cell, names[0])
        if rank:
            matrix = matrix @ getattr(cell, names[1])
        if number % 2:
            x = 2 * sigmoid(h @ matrix) * x
        else:
            h = 2 * sigmoid(x @ matrix) * h
    return lstm(cell, x, h, c)


def mingru(cell, x, h):
    (wz, wn), (bz, bn) = gates(cell.weight_input), gates(cell.bias)
    z = sigmoid(x @ wz + bz)
    return ((1 - z) * h + z * (x @ wn + bn),)


def minlstm(cell, x, h):
    (wf, wi, wn), (bf, bi, bn) = gates(cell.weight_input), gates(cell.bias)
    f, i = sigmoid(x @ wf + bf), sigmoid(x @ wi + bi)
    return (f / (f + i) * h + i / (f + i) * (x @ wn + bn),)


EQUATIONS = {
    "lstm-layernorm": lstm_layer_norm,
    "gru-layernorm": gru_layer_norm,
    "mogrifier": mogrifier,
    "mogrifier-rank": partial(mogrifier, rank=True),
    "mlstm": mlstm,
    "mingru": mingru,
    "minlstm": minlstm,
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
    size = INPUTS if name == "mogrifier" else cell.bias.numel()
    weights = torch.randn(*shape, size).double()
    gradients = []
    for xs in (ids, F.one_hot(ids, INPUTS).double()):
        cell.zero_grad()
        projected = cell.project(xs)
        assert projected.shape == weights.shape
        if name == "mogrifier":  # its input is not multiplied yet
            gradients.append(projected)
            continue
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
        ("lstm-layernorm", 4 * (7 * 11 + 11 * 11 + 3 * 11) + 2 * 11),
        ("gru-layernorm", 3 * (7 * 11 + 11 * 11 + 3 * 11) + 11),
        ("mogrifier", 4 * (7 * 11 + 11 * 11 + 11) + 5 * 7 * 11),
        ("mogrifier-rank", 4 * (7 * 11 + 11 * 11 + 11) + 2 * 3 * (7 + 11)),
        ("mlstm", 5 * (7 * 11 + 11 * 11 + 11)),
        ("mingru", 2 * (7 * 11 + 11)),
        ("minlstm", 3 * (7 * 11 + 11)),
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


def test_a_mogrifier_without_rounds_and_with_closed_gates_is_an_lstm():
    lstm_cell = cell_of("lstm")
    plain, closed = (MogrifierCell(INPUTS, HIDDEN, rounds=r, rank=None).double() for r in (0, 5))
    plain.load_state_dict(lstm_cell.state_dict())
    closed.load_state_dict(lstm_cell.state_dict(), strict=False)
    for names in closed.rounds:
        torch.nn.init.zeros_(closed.get_parameter(names[0]))  # 2 sigmoid(0) is 1
    x, state = torch.randn(BATCH, INPUTS).double(), random_state(lstm_cell)
    wanted = lstm_cell(x, state)
    for cell in (plain, closed):
        torch.testing.assert_close(cell(x, state), wanted, rtol=0, atol=1e-12)


def test_an_mlstm_whose_input_factor_is_one_is_an_lstm():
    """The recurrent matrix of the LSTM is the product of both parts."""
    cell = cell_of("mlstm")
    twin = LSTMCell(INPUTS, HIDDEN, peepholes=False, nonlinearity="tanh").double()
    with torch.no_grad():
        cell.weight_input[:, :HIDDEN] = 0
        cell.bias[:HIDDEN] = 1
        twin.weight_input.copy_(cell.weight_input[:, HIDDEN:])
        twin.bias.copy_(cell.bias[HIDDEN:])
        twin.weight_hidden.copy_(cell.weight_hidden[:, :HIDDEN] @ cell.weight_hidden[:, HIDDEN:])
    x, state = torch.randn(BATCH, INPUTS).double(), random_state(cell)
    torch.testing.assert_close(cell(x, state), twin(x, state), rtol=0, atol=1e-12)


def test_the_gates_of_a_minlstm_are_numbers_however_closed_they_are():
    cell = cell_of("minlstm")
    shut = torch.full((1, 3 * HIDDEN), -1e4, dtype=torch.float64)
    keep, _ = cell.keep_and_candidate(shut)
    torch.testing.assert_close(keep, torch.full_like(keep, 0.5))
