"""Each cell against its equations, written out with plain products, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import SCRATCH, TORCH, build_layer
from charlm.recurrent.core import (
    BidirectionalState,
    HiddenState,
    JordanState,
    LSTMState,
    map_state,
    reset_book,
    reset_glorot,
)
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.gru import GRUCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.unroll import Unrolled

BATCH, INPUTS, HIDDEN, OUTPUTS = 3, 5, 4, 2
STATES = {"rnn": HiddenState, "gru": HiddenState, "lstm": LSTMState, "jordan": JordanState}

ALL = {
    **SCRATCH,
    "rnn-linear": partial(ElmanCell, nonlinearity="linear"),
    "jordan-sigmoid": partial(JordanCell, output_size=OUTPUTS, activation="sigmoid"),
    "jordan-softmax": partial(JordanCell, output_size=OUTPUTS, activation="softmax"),
    "jordan-linear": partial(JordanCell, output_size=OUTPUTS, activation="linear"),
}

cells = pytest.mark.parametrize("name", SCRATCH)
all_cells = pytest.mark.parametrize("name", ALL)


def cell_of(name: str):
    """Large weights, so that every gate matters."""
    cell = ALL[name](INPUTS, HIDDEN).double()
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


def lstm_peephole(cell, x, h, c):
    (wi, wf, wg, wo), (ui, uf, ug, uo), (bi, bf, bg, bo) = (
        gates(weight) for weight in (cell.weight_input, cell.weight_hidden, cell.bias)
    )
    i = sigmoid(x @ wi + h @ ui + bi + cell.peephole_input * c)
    f = sigmoid(x @ wf + h @ uf + bf + cell.peephole_forget * c)
    g = tanh(x @ wg + h @ ug + bg)
    c = f * c + i * g
    o = sigmoid(x @ wo + h @ uo + bo + cell.peephole_output * c)
    return o * tanh(c), c


def jordan(cell, x, y, activation):
    h = tanh(x @ cell.weight_input + y @ cell.weight_hidden + cell.bias)
    return (activation(h @ cell.weight_output + cell.bias_output),)


EQUATIONS = {
    "rnn": lambda *arguments: elman(*arguments, tanh),
    "rnn-relu": lambda *arguments: elman(*arguments, lambda x: x * (x > 0)),
    "rnn-linear": lambda *arguments: elman(*arguments, lambda x: x),
    "gru": gru_after,
    "gru-reset-before": gru_before,
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "jordan": lambda *arguments: jordan(*arguments, tanh),
    "jordan-sigmoid": lambda *arguments: jordan(*arguments, sigmoid),
    "jordan-softmax": lambda *arguments: jordan(
        *arguments, lambda x: x.exp() / x.exp().sum(1, keepdim=True)
    ),
    "jordan-linear": lambda *arguments: jordan(*arguments, lambda x: x),
}


def test_there_are_equations_for_all_cells():
    assert EQUATIONS.keys() == ALL.keys()


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


def test_peepholes_of_zero_are_none():
    peephole, plain = cell_of("lstm-peephole"), cell_of("lstm")
    plain.load_state_dict(peephole.state_dict(), strict=False)
    x, state = torch.randn(BATCH, INPUTS).double(), random_state(plain)
    assert not torch.allclose(peephole(x, state)[0], plain(x, state)[0], atol=1e-3)
    with torch.no_grad():
        for gate in ("input", "forget", "output"):
            peephole.get_parameter(f"peephole_{gate}").zero_()
    torch.testing.assert_close(peephole(x, state), plain(x, state), rtol=0, atol=0)


def test_an_elman_network_by_hand():
    """All weights are 1, there are no biases, and the memory starts at 0."""
    cell = ElmanCell(2, 2, "linear")
    for name, parameter in cell.named_parameters():
        torch.nn.init.constant_(parameter, name != "bias")

    def outputs(*inputs):
        state, found = cell.initial_state(1), []
        for x in inputs:
            hidden, state = cell(torch.tensor([x]).float(), state)
            found += (hidden @ torch.ones(2, 2)).tolist()
        return found

    assert outputs([1, 1], [1, 1], [2, 2]) == [[4, 4], [12, 12], [32, 32]]
    assert outputs([2, 2], [1, 1], [1, 1]) == [[8, 8], [20, 20], [44, 44]]


def test_an_lstm_by_hand(monkeypatch):
    """x1 is what may be stored, x2 > 0 stores it, x2 < 0 forgets, x3 > 0 reads it out."""
    monkeypatch.setattr(torch, "tanh", lambda x: x)  # its cell takes in and gives out what there is
    cell = SCRATCH["lstm"](3, 1)
    weights = [[0, 0, 1, 0], [100, 100, 0, 0], [0, 0, 0, 100]]  # from x1, x2, x3 to i, f, g, o
    with torch.no_grad():
        cell.weight_input.copy_(torch.tensor(weights))
        cell.weight_hidden.zero_()
        cell.bias.copy_(torch.tensor([-10, 10, 0, -10]))
    state, memory, outputs = cell.initial_state(1), [], []
    for x in ([3, 1, 0], [4, 1, 0], [2, 0, 0], [1, 0, 1], [3, -1, 0]):
        output, state = cell(torch.tensor([x]).float(), state)
        memory.append(state.cell.item())
        outputs.append(output.item())
    assert memory == pytest.approx([3, 7, 7, 7, 0], abs=2e-3)
    assert outputs == pytest.approx([0, 0, 0, 7, 0], abs=2e-3)


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
        ("lstm-peephole", 4 * (7 * 11 + 11 * 11 + 11) + 3 * 11),
        ("jordan", (7 * 11 + 11 * 11 + 11) + (11 * 11 + 11)),
        ("jordan-softmax", (7 * 11 + 2 * 11 + 11) + (11 * 2 + 2)),
    ],
)
def test_parameter_counts(name, count):
    cell = ALL[name](7, 11)
    assert sum(parameter.numel() for parameter in cell.parameters()) == count
    assert (cell.input_size, cell.output_size) == (7, OUTPUTS if name == "jordan-softmax" else 11)


def test_parameters_of_the_books_simple_network():
    """SimpleRNN(32) on 32 inputs, as Keras counts it."""
    assert sum(parameter.numel() for parameter in SCRATCH["rnn"](32, 32).parameters()) == 2080


@all_cells
def test_initial_states_are_zeros_where_the_weights_are(name):
    cell = ALL[name](INPUTS, HIDDEN).double()
    state = cell.initial_state(BATCH)
    assert isinstance(state, STATES[name.partition("-")[0]])
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(BATCH, cell.output_size, dtype=torch.float64))
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
    for parameter_name, parameter in cell.named_parameters():
        assert bool(parameter.any()) == ("bias" not in parameter_name)


@pytest.mark.parametrize(
    ("cell", "backend"),
    [(cell, "scratch") for cell in SCRATCH] + [(cell, "torch") for cell in TORCH],
)
def test_first_weights_as_in_keras(cell, backend):
    """Orthogonal, or of Glorot's bound; no bias but the forget gate's."""
    inputs, hidden = 30, 20
    layer = build_layer(cell, backend, inputs, hidden).requires_grad_(False)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 7.0)
    reset_glorot(layer)
    recurrent = layer.get_parameter(layer.recurrent_weight)
    wide = recurrent if backend == "scratch" else recurrent.T  # (H, gates)
    torch.testing.assert_close(wide @ wide.T, torch.eye(hidden), rtol=0, atol=1e-5)
    for name, parameter in layer.named_parameters():
        if parameter.dim() == 1:  # biases, and peepholes
            wanted = torch.zeros_like(parameter)
            if cell.startswith("lstm") and name.endswith((".bias", "bias_ih_l0")):
                wanted[hidden : 2 * hidden] = 1
            assert torch.equal(parameter, wanted), name
        elif name != layer.recurrent_weight:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.95 * bound < float(parameter.abs().max()) <= bound
            assert float(parameter.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_first_weights_as_in_keras_of_an_embedding_and_of_both_directions():
    embedding = nn.Embedding(300, 20)
    layers = Bidirectional(build_layer("lstm", "torch", 5, 4), Unrolled(LSTMCell(5, 4)))
    reset_glorot(nn.ModuleList([embedding, WeightDropout(layers.forward_layer, 0.5), layers]))
    assert 0.0499 < float(embedding.weight.detach().abs().max()) <= 0.05
    forget = torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8)
    assert torch.equal(layers.forward_layer.network.bias_ih_l0, forget)
    assert torch.equal(layers.backward_layer.cell.bias, forget)
    assert not layers.forward_layer.network.bias_hh_l0.any()


def test_a_jordan_network_with_few_outputs_is_taken_for_no_lstm():
    cell = JordanCell(3, 8, output_size=2)  # with as many biases as an LSTM of two units
    reset_glorot(cell)
    assert not cell.bias.any()


def test_a_state_is_mapped_tensor_by_tensor():
    state = LSTMState(torch.ones(2, 3), torch.zeros(2, 3))
    stack = (HiddenState(torch.ones(2, 3)), state)
    assert map_state(lambda tensor: tensor[:1], state).cell.shape == (1, 3)
    mapped = map_state(lambda tensor: tensor + 1, stack)
    assert [type(layer) for layer in mapped] == [HiddenState, LSTMState]
    assert [float(tensor.mean()) for layer in mapped for tensor in layer] == [2, 2, 1]


def test_nested_states_and_several_at_once():
    state = BidirectionalState(
        LSTMState(torch.ones(2, 3), torch.zeros(2, 3)), JordanState(torch.ones(2, 4))
    )
    joined = map_state(lambda *parts: torch.cat(parts), (state,), (state,), (state,))
    assert isinstance(joined, tuple)
    (joined,) = joined
    assert isinstance(joined, BidirectionalState)
    assert isinstance(joined.forward, LSTMState)
    assert isinstance(joined.backward, JordanState)
    assert torch.equal(joined.forward.cell, torch.zeros(6, 3))
    assert torch.equal(joined.backward.output, torch.ones(6, 4))
    with pytest.raises(ValueError, match="shorter"):
        map_state(torch.add, (state, state), (state,))
