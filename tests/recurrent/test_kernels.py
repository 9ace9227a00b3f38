"""Kernels against the loop of steps: outputs, last states and all gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from charlm.compiled import can_compile
from charlm.recurrent import kernels, pointwise
from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.cells import CELLS, has_kernel
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.mogrifier import MogrifierCell
from charlm.recurrent.stack import WeightDropout
from charlm.recurrent.states import map_state
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 9, 5, 7, 40
LENGTHS = [3, 9, 7, 9, 1]

ALL = {
    **{name: kind.scratch for name, kind in CELLS.items()},
    "rnn-linear": partial(ElmanCell, nonlinearity="linear"),
    "jordan-sigmoid": partial(JordanCell, output_size=3, activation="sigmoid"),
    "mogrifier-rank": partial(MogrifierCell, rounds=4, rank=3),
    "jordan-relu": partial(JordanCell, output_size=3, activation="relu"),
}

cells = pytest.mark.parametrize("name", ALL)


@pytest.fixture(params=["numba", "torch"])
def _pointwise(request, monkeypatch):
    """The compiled pointwise functions, and those of torch."""
    if request.param == "torch":
        monkeypatch.setattr(kernels, "can_compile", lambda: False)
    elif not can_compile():
        pytest.skip("numba cannot compile here")


def layer_of(name: str, dtype=torch.float32) -> Unrolled:
    torch.manual_seed(0)
    return Unrolled(ALL[name](input_size=INPUTS, hidden_size=HIDDEN)).to(dtype)


def random_state(layer, dtype=torch.float32):
    return map_state(
        lambda tensor: torch.randn_like(tensor, dtype=dtype), layer.initial_state(BATCH)
    )


def compare(layer, xs, first, results, monkeypatch, *, atol, run=None):
    """The layer with and without kernels."""
    run = run or layer
    fast = results(run, layer, xs, first)
    with monkeypatch.context() as patched:
        for cell in (part.cell for part in layer.modules() if isinstance(part, Unrolled)):
            patched.setattr(cell, "kernel", lambda: None)
        slow = results(run, layer, xs, first)
    fast, slow = ([t.float() for t in flat(found)] for found in (fast, slow))
    for ours, theirs in zip(fast, slow, strict=True):
        scale = max(1.0, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=atol * scale)


def flat(found):
    return [t for part in found for t in ([part] if isinstance(part, torch.Tensor) else flat(part))]


@cells
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.usefixtures("_pointwise")
def test_a_kernel_is_the_loop(name, lengths, results, monkeypatch):
    layer = layer_of(name)
    for xs in (torch.randn(STEPS, BATCH, INPUTS), torch.randint(INPUTS, (STEPS, BATCH))):
        run = partial(layer, lengths=None if lengths is None else torch.tensor(lengths))
        compare(layer, xs, random_state(layer), results, monkeypatch, atol=2e-6, run=run)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "rnn-relu"])
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.usefixtures("_pointwise")
def test_bfloat16(name, ids, results, monkeypatch):
    """Not relu: rounding may move a unit over the edge, which changes its gradient as a whole."""
    layer = layer_of(name)
    xs = torch.randint(INPUTS, (STEPS, BATCH)) if ids else torch.randn(STEPS, BATCH, INPUTS)

    def run(xs, state):
        with torch.autocast("cpu", torch.bfloat16):
            outputs, last = layer(xs, state)
        return outputs.float(), map_state(torch.Tensor.float, last)  # the loop's may be bfloat16

    compare(layer, xs, random_state(layer), results, monkeypatch, atol=0.03, run=run)


@cells
def test_the_gradients_are_those_of_finite_differences(name, gradcheck):
    cell = ALL[name](input_size=2, hidden_size=3).double()
    layer = Unrolled(cell)
    first = map_state(torch.randn_like, layer.initial_state(3))
    for lengths in (None, torch.tensor([2, 3, 1])):
        assert gradcheck(layer, torch.randn(3, 3, 2).double(), first, lengths)


@pytest.mark.parametrize("name", CELLS)
def test_parts_of_a_sequence_and_no_gradients(name):
    layer, xs = layer_of(name), torch.randn(STEPS, BATCH, INPUTS)
    first = random_state(layer)
    whole, last = layer(xs, first)
    with torch.no_grad():
        parts, state = [], first
        for part in xs.split([4, 1, 4]):
            outputs, state = layer(part, state)
            parts.append(outputs)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=2e-6)
    torch.testing.assert_close(state, last, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CELLS)
def test_both_directions_share_nothing(name, results, monkeypatch):
    layer = Bidirectional(layer_of(name), layer_of(name))
    xs, lengths = torch.randn(STEPS, BATCH, INPUTS), torch.tensor(LENGTHS)
    first = type(layer.initial_state(1))(*(random_state(layer_of(name)) for _ in range(2)))
    run = partial(layer, lengths=lengths)
    compare(layer, xs, first, results, monkeypatch, atol=2e-6, run=run)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_dropped_weights(name, results, monkeypatch):
    layer = WeightDropout(layer_of(name), 0.5).train()

    def run(xs, state):
        torch.manual_seed(2)
        return layer(xs, state)

    xs = torch.randn(STEPS, BATCH, INPUTS)
    compare(layer, xs, random_state(layer), results, monkeypatch, atol=2e-6, run=run)


@pytest.mark.parametrize("name", CELLS)
def test_views_frozen_weights_and_unused_outputs(name):
    layer = layer_of(name)
    xs = torch.randn(BATCH, INPUTS, STEPS).permute(2, 0, 1)  # not contiguous
    one = map_state(lambda tensor: tensor[:1].expand(BATCH, -1), random_state(layer))  # stride 0
    outputs, last = layer(xs, one)
    torch.testing.assert_close(
        (outputs, last), layer(xs.contiguous(), map_state(torch.clone, one)), rtol=0, atol=0
    )
    weight = layer.cell.weight_input
    by_state = torch.autograd.grad(last[0].sum(), weight, retain_graph=True)[0]
    by_output = torch.autograd.grad(outputs[-1].sum(), weight, retain_graph=True)[0]
    torch.testing.assert_close(by_state, by_output, rtol=0, atol=1e-5)
    again = torch.autograd.grad(outputs[-1].sum(), weight)[0]  # the same graph, twice
    assert torch.equal(again, by_output)
    layer.requires_grad_(False)
    xs = xs.clone().requires_grad_()
    layer(xs, one)[0].sum().backward()
    assert xs.grad.abs().sum() > 0
    assert weight.grad is None


def test_states_of_another_batch_are_refused():
    layer = layer_of("lstm")
    with pytest.raises(ValueError, match=r"shape \(5, 40\)"):
        layer(torch.randn(STEPS, BATCH, INPUTS), layer.initial_state(BATCH + 1))


def test_a_subclass_with_another_step_does_not_take_the_kernel():
    class Doubled(LSTMCell):
        def step(self, projected, state):
            output, state = super().step(projected, state)
            return 2 * output, state

    xs = torch.randn(STEPS, BATCH, INPUTS)
    layer = Unrolled(Doubled(INPUTS, HIDDEN, peepholes=False, nonlinearity="tanh"))
    outputs, last = layer(xs, random_state(layer))
    torch.testing.assert_close(outputs[-1], 2 * last.hidden, rtol=0, atol=0)


def test_gradients_are_not_differentiated_again():
    layer = layer_of("lstm")
    outputs, _ = layer(torch.randn(STEPS, BATCH, INPUTS), random_state(layer))
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(outputs.sum(), layer.cell.bias, create_graph=True)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.usefixtures("_pointwise")
def test_what_is_not_finite_stays_so(name):
    layer, xs = layer_of(name), torch.randn(STEPS, BATCH, INPUTS)
    xs[2, 1, 0] = torch.nan
    outputs, last = layer(xs, layer.initial_state(BATCH))
    assert outputs[2:, 1].isnan().all()
    assert last[0][1].isnan().all()
    others = [row for row in range(BATCH) if row != 1]
    assert outputs[:, others].isfinite().all()
    outputs.sum().backward()
    assert layer.cell.weight_input.grad.isnan().any()


@pytest.mark.skipif(not can_compile(), reason="numba cannot compile here")
@pytest.mark.parametrize(
    ("activation", "fn"), [(pointwise.TANH, torch.tanh), (pointwise.SIGMOID, torch.sigmoid)]
)
def test_the_error_of_the_compiled_functions(activation, fn):
    from charlm.recurrent import pointwise_numba

    xs = torch.cat([torch.linspace(-20, 20, 400_001), torch.tensor([torch.inf, -torch.inf])])
    ys = torch.empty(1, len(xs))
    given = (xs.view(1, 1, -1), torch.tensor([0]), torch.zeros_like(ys), ys)
    pointwise_numba.activate(activation, *(t.numpy() for t in given))
    assert float((ys[0] - fn(xs.double())).abs().max()) < 3e-7
    assert float(ys.abs().max()) <= 1


def test_the_table_says_which_cells_have_a_kernel():
    for name, kind in CELLS.items():
        cell = kind.scratch(input_size=INPUTS, hidden_size=HIDDEN)
        assert has_kernel(name) == (cell.kernel() is not None)
    linear = LSTMCell(INPUTS, HIDDEN, peepholes=False, nonlinearity="linear")
    softmax = JordanCell(INPUTS, HIDDEN, output_size=3, activation="softmax")
    assert linear.kernel() is None
    assert softmax.kernel() is None


@pytest.mark.parametrize("name", [name for name in CELLS if has_kernel(name)])
def test_a_change_of_the_outputs_in_place_is_noticed(name):
    layer = layer_of(name)
    outputs, _ = layer(torch.randn(STEPS, BATCH, INPUTS), random_state(layer))
    outputs.add_(1)  # is allowed, but what the gradients need is gone
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_ids_beyond_the_vocabulary_are_refused():
    layer = layer_of("gru")
    for token in (-1, INPUTS):
        with pytest.raises(IndexError, match="token ids must be from 0 to 6"):
            layer(torch.full((STEPS, BATCH), token), random_state(layer))
