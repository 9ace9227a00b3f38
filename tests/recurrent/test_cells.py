"""Each cell against its equations, written out with plain products, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from charlm.recurrent.build import SCRATCH
from charlm.recurrent.core import HiddenState, LSTMState, map_state, reset_book
from charlm.recurrent.gru import GRUCell

BATCH, INPUTS, HIDDEN = 3, 5, 4

cells = pytest.mark.parametrize("name", SCRATCH)


def cell_of(name: str):
    """Large weights, so that every gate matters."""
    cell = SCRATCH[name](INPUTS, HIDDEN).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state(cell):
    return map_state(torch.randn_like, cell.initial_state(BATCH))


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def tanh(x: Tensor) -> Tensor:
    return 2 * sigmoid(2 * x) - 1


def gates(weight: Tensor) -> list[Tensor]:
    """The columns of each gate."""
    return [weight[..., start : start + HIDDEN] for start in range(0, weight.shape[-1], HIDDEN)]


def elman(cell, x, h, activation):
    return (activation(x @ cell.weight_input + h @ cell.weight_hidden + cell.bias),)


def gru_before(cell, x, h):
    (wr, wz, wn), (ur, uz, un), (br, bz, bn) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    r = sigmoid(x @ wr + h @ ur + br)
    z = sigmoid(x @ wz + h @ uz + bz)
    n = tanh(x @ wn + (r * h) @ un + bn)
    return ((1 - z) * n + z * h,)


def gru_after(cell, x, h):
    (wr, wz, wn), (ur, uz, un), (br, bz, bn) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    r = sigmoid(x @ wr + h @ ur + br)
    z = sigmoid(x @ wz + h @ uz + bz)
    n = tanh(x @ wn + bn + r * (h @ un + cell.bias_candidate))
    return ((1 - z) * n + z * h,)


def lstm(cell, x, h, c):
    (wi, wf, wg, wo), (ui, uf, ug, uo), (bi, bf, bg, bo) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    i = sigmoid(x @ wi + h @ ui + bi)
    f = sigmoid(x @ wf + h @ uf + bf)
    o = sigmoid(x @ wo + h @ uo + bo)
    g = tanh(x @ wg + h @ ug + bg)
    c = f * c + i * g
    return o * tanh(c), c


EQUATIONS = {
    "rnn": lambda *arguments: elman(*arguments, tanh),
    "rnn-relu": lambda *arguments: elman(*arguments, lambda x: x * (x > 0)),
    "gru": gru_after,
    "gru-reset-before": gru_before,
    "lstm": lstm,
}


def test_there_are_equations_for_all_cells():
    assert EQUATIONS.keys() == SCRATCH.keys()


@cells
@pytest.mark.parametrize("seed", range(3))
def test_a_step_is_the_equation(name, seed):
    torch.manual_seed(seed)
    cell = cell_of(name)
    x, state = torch.randn(BATCH, INPUTS).double(), random_state(cell)
    output, new = cell(x, state)
    wanted = EQUATIONS[name](cell, x, *state)
    assert type(new) is type(state) is type(cell.initial_state(1))
    torch.testing.assert_close(tuple(new), wanted, rtol=0, atol=1e-12)
    assert torch.equal(output, new.hidden)


@cells
def test_gradients_of_a_step(name):
    cell = cell_of(name)
    names = [name for name, _ in cell.named_parameters()]

    def step(x, *tensors):
        parameters, state = tensors[: len(names)], tensors[len(names) :]
        output, new = functional_call(
            cell,
            dict(zip(names, parameters, strict=True)),
            (x, type(cell.initial_state(1))(*state)),
        )
        return output, *new

    inputs = (
        torch.randn(BATCH, INPUTS).double(),
        *(parameter.detach() for parameter in cell.parameters()),
        *random_state(cell),
    )
    assert torch.autograd.gradcheck(step, [tensor.requires_grad_() for tensor in inputs])


def test_the_reset_before_and_after_the_product_differ():
    after, before = cell_of("gru"), cell_of("gru-reset-before")
    with torch.no_grad():
        after.bias_candidate.zero_()
    before.load_state_dict(after.state_dict(), strict=False)
    x, state = torch.randn(BATCH, INPUTS).double(), random_state(after)
    assert not torch.allclose(before(x, state)[0], after(x, state)[0], atol=1e-3)
    # Without a past there is nothing to reset.
    torch.testing.assert_close(
        before(x, before.initial_state(BATCH))[0], after(x, after.initial_state(BATCH))[0]
    )


def test_the_variant_without_the_second_bias_has_none():
    assert hasattr(GRUCell(INPUTS, HIDDEN), "bias_candidate")
    assert not hasattr(GRUCell(INPUTS, HIDDEN, "before"), "bias_candidate")


@cells
@pytest.mark.parametrize("shape", [(BATCH,), (7, BATCH)], ids=["a step", "many steps"])
def test_ids_are_one_hot_features(name, shape):
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


@cells
def test_the_forward_pass_takes_ids_too(name):
    cell = cell_of(name)
    ids, state = torch.randint(INPUTS, (BATCH,)), random_state(cell)
    torch.testing.assert_close(
        cell(ids, state), cell(F.one_hot(ids, INPUTS).double(), state), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("rnn", 7 * 11 + 11 * 11 + 11),
        ("rnn-relu", 7 * 11 + 11 * 11 + 11),
        ("gru", 3 * (7 * 11 + 11 * 11 + 11) + 11),
        ("gru-reset-before", 3 * (7 * 11 + 11 * 11 + 11)),
        ("lstm", 4 * (7 * 11 + 11 * 11 + 11)),
    ],
)
def test_parameter_counts(name, count):
    cell = SCRATCH[name](7, 11)
    assert sum(parameter.numel() for parameter in cell.parameters()) == count
    assert (cell.input_size, cell.output_size) == (7, 11)


@cells
def test_initial_states_are_zeros_where_the_weights_are(name):
    cell = SCRATCH[name](INPUTS, HIDDEN).double()
    state = cell.initial_state(BATCH)
    assert isinstance(state, LSTMState if name == "lstm" else HiddenState)
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(BATCH, HIDDEN, dtype=torch.float64))
    assert len({tensor.data_ptr() for tensor in state}) == len(state)


@cells
def test_first_weights_are_uniform_as_torchs(name):
    cell = SCRATCH[name](200, 100)
    for parameter in map(Tensor.detach, cell.parameters()):
        assert 0.09 < parameter.abs().max() <= 0.1
        assert float(parameter.std()) == pytest.approx(0.1 / 3**0.5, rel=0.2)


@cells
def test_the_books_first_weights(name):
    cell = SCRATCH[name](200, 100)
    reset_book(cell.requires_grad_(False))
    assert float(cell.weight_input.std()) == pytest.approx(0.01, rel=0.05)
    assert float(cell.weight_hidden.std()) == pytest.approx(0.01, rel=0.05)
    assert not cell.bias.any()
    assert name != "gru" or not cell.bias_candidate.any()


def test_a_state_is_mapped_tensor_by_tensor():
    state = LSTMState(torch.ones(2, 3), torch.zeros(2, 3))
    stack = (HiddenState(torch.ones(2, 3)), state)
    assert map_state(lambda tensor: tensor[:1], state).cell.shape == (1, 3)
    mapped = map_state(lambda tensor: tensor + 1, stack)
    assert [type(layer) for layer in mapped] == [HiddenState, LSTMState]
    assert [float(tensor.mean()) for layer in mapped for tensor in layer] == [2, 2, 1]
