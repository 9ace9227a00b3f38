"""The fast and the slow way through a sequence, held together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from charlm.recurrent.build import SCRATCH
from charlm.recurrent.core import map_state
from charlm.recurrent.unroll import Unrolled, unroll_by_step

STEPS, BATCH, INPUTS, HIDDEN = 9, 3, 5, 4
EXACT = {"rtol": 0, "atol": 1e-12}

cells = pytest.mark.parametrize("name", SCRATCH)


def cell_of(name: str):
    cell = SCRATCH[name](INPUTS, HIDDEN).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state(cell):
    return map_state(torch.randn_like, cell.initial_state(BATCH))


def by_step(cell):
    return lambda *arguments: unroll_by_step(cell, *arguments)


def results(run, cell, xs, first, *lengths):
    """Outputs, final state, and the gradients of inputs, first state and weights."""
    cell.zero_grad()
    leaves = [tensor.clone().requires_grad_() for tensor in first]
    if xs.is_floating_point():
        xs = xs.clone().requires_grad_()
    outputs, last = run(xs, type(first)(*leaves), *lengths)
    torch.manual_seed(1)  # every output counts differently
    loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in (outputs, *last))
    loss.backward()
    gradients = [leaf.grad for leaf in leaves] + [p.grad for p in cell.parameters()]
    if xs.is_floating_point():
        gradients.append(xs.grad)
    return outputs, tuple(last), gradients


@cells
@pytest.mark.parametrize("steps", [1, 2, STEPS])
@pytest.mark.parametrize("kind", ["features", "ids"])
def test_all_at_once_is_step_by_step(name, steps, kind):
    cell = cell_of(name)
    xs = torch.randn(steps, BATCH, INPUTS).double()
    if kind == "ids":
        xs = torch.randint(INPUTS, (steps, BATCH))
    first = random_state(cell)
    fast = results(Unrolled(cell), cell, xs, first)
    slow = results(by_step(cell), cell, xs, first)
    assert fast[0].shape == (steps, BATCH, HIDDEN)
    torch.testing.assert_close(fast, slow, **EXACT)


@cells
@pytest.mark.parametrize(
    "lengths", [[9, 1, 4], [1, 9, 9], [3, 3, 2], [9, 9, 9], [1, 1, 1]], ids=str
)
@pytest.mark.parametrize("kind", ["features", "ids"])
def test_rows_of_unequal_lengths_together_are_one_by_one(name, lengths, kind):
    cell = cell_of(name)
    xs = torch.randn(STEPS, BATCH, INPUTS).double()
    if kind == "ids":
        xs = torch.randint(INPUTS, (STEPS, BATCH))
    first, lengths = random_state(cell), torch.tensor(lengths)
    fast = results(Unrolled(cell), cell, xs, first, lengths)
    slow = results(by_step(cell), cell, xs, first, lengths)
    torch.testing.assert_close(fast, slow, **EXACT)


@cells
@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 3, 1])], ids=["whole", "padded"])
def test_gradients(name, lengths):
    cell = cell_of(name)
    layer, names = Unrolled(cell), [name for name, _ in cell.named_parameters()]
    kind, first = type(cell.initial_state(1)), random_state(cell)

    def run(xs, *tensors):
        state, parameters = tensors[: len(first)], tensors[len(first) :]
        named = {f"cell.{name}": value for name, value in zip(names, parameters, strict=True)}
        outputs, last = functional_call(layer, named, (xs, kind(*state), lengths))
        return outputs, *last

    tensors = [torch.randn(3, BATCH, INPUTS).double(), *first]
    tensors += [parameter.detach() for parameter in cell.parameters()]
    assert torch.autograd.gradcheck(run, [tensor.requires_grad_() for tensor in tensors])


@pytest.mark.parametrize("run", [Unrolled, by_step], ids=["fast", "slow"])
@pytest.mark.parametrize("lengths", [[9, 0, 4], [9, 10, 4]], ids=str)
def test_impossible_lengths_are_refused(run, lengths):
    cell = cell_of("rnn")
    xs = torch.randn(STEPS, BATCH, INPUTS).double()
    with pytest.raises(ValueError, match="lengths are from"):
        run(cell)(xs, random_state(cell), torch.tensor(lengths))


@cells
def test_ids_are_one_hot_features(name):
    cell = cell_of(name)
    ids, first = torch.randint(INPUTS, (STEPS, BATCH)), random_state(cell)
    from_ids = results(Unrolled(cell), cell, ids, first)
    from_features = results(Unrolled(cell), cell, F.one_hot(ids, INPUTS).double(), first)
    from_features[2].pop()  # ids have no gradient
    torch.testing.assert_close(from_ids, from_features, **EXACT)


@cells
@pytest.mark.parametrize("at", [1, 4, STEPS - 1])
def test_a_split_sequence_is_the_whole(name, at):
    cell = cell_of(name)
    layer = Unrolled(cell)
    xs, first = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(cell)

    def in_two(xs, state):
        left, state = layer(xs[:at], state)
        right, state = layer(xs[at:], state)
        return torch.cat([left, right]), state

    torch.testing.assert_close(
        results(in_two, cell, xs, first), results(layer, cell, xs, first), **EXACT
    )


@cells
def test_the_last_output_is_the_state(name):
    layer = Unrolled(cell_of(name))
    outputs, state = layer(torch.randn(STEPS, BATCH, INPUTS).double(), random_state(layer))
    assert torch.equal(outputs[-1], state[0])


@cells
def test_the_first_state_counts(name):
    cell = cell_of(name)
    layer, xs = Unrolled(cell), torch.randn(STEPS, BATCH, INPUTS).double()
    from_zeros, _ = layer(xs, layer.initial_state(BATCH))
    assert not torch.allclose(from_zeros, layer(xs, random_state(cell))[0])


@cells
def test_rows_do_not_touch_each_other(name):
    layer = Unrolled(cell_of(name))
    xs, state = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(layer)
    whole, _ = layer(xs, state)
    alone, _ = layer(xs[:, 1:2], map_state(lambda tensor: tensor[1:2], state))
    torch.testing.assert_close(whole[:, 1:2], alone, **EXACT)


@cells
def test_sizes_and_the_name_of_the_recurrent_weight(name):
    layer = Unrolled(SCRATCH[name](INPUTS, HIDDEN))
    assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
    assert layer.get_parameter(layer.recurrent_weight) is layer.cell.weight_hidden
