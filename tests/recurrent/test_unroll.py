"""The fast way through a sequence against the slow one."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from charlm.recurrent.build import build_cell
from charlm.recurrent.cells import CELLS
from charlm.recurrent.states import map_state
from charlm.recurrent.unroll import Unrolled, unroll_by_step

STEPS, BATCH, INPUTS, HIDDEN = 9, 3, 5, 4

cells = pytest.mark.parametrize("name", CELLS)


def cell_of(name: str):
    cell = build_cell(name, input_size=INPUTS, hidden_size=HIDDEN).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state(cell):
    return map_state(torch.randn_like, cell.initial_state(BATCH))


def results(run, cell, xs, first, lengths):
    """Outputs, final state, and the gradients of inputs, first state and weights."""
    first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
    leaves = [*first, *cell.parameters()]
    if xs.is_floating_point():
        xs = xs.clone().requires_grad_()
        leaves.append(xs)
    outputs, last = run(xs, first, lengths)
    torch.manual_seed(1)  # a different weight for every output
    loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in (outputs, *last))
    return outputs, last, torch.autograd.grad(loss, leaves)


@cells
@pytest.mark.parametrize(
    "lengths", [None, [9, 1, 4], [1, 9, 9], [3, 3, 2], [9, 9, 9], [1, 1, 1]], ids=str
)
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
def test_all_steps_at_once_are_one_step_at_a_time(name, lengths, ids):
    cell = cell_of(name)
    first, lengths = random_state(cell), None if lengths is None else torch.tensor(lengths)
    for steps in (STEPS,) if lengths is not None else (1, 2, STEPS):
        xs = torch.randn(steps, BATCH, INPUTS).double()
        if ids:
            xs = torch.randint(INPUTS, (steps, BATCH))
        fast = results(Unrolled(cell), cell, xs, first, lengths)
        slow = results(lambda *given: unroll_by_step(cell, *given), cell, xs, first, lengths)
        assert fast[0].shape == (steps, BATCH, HIDDEN)
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)


@cells
@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 3, 1])], ids=["whole", "padded"])
def test_gradcheck(name, lengths):
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


@cells
def test_the_last_output_is_the_state_and_the_first_state_matters(name):
    layer = Unrolled(cell_of(name))
    xs = torch.randn(STEPS, BATCH, INPUTS).double()
    outputs, state = layer(xs, random_state(layer))
    assert torch.equal(outputs[-1], state[0])
    from_zeros, _ = layer(xs, layer.initial_state(BATCH))
    assert not torch.allclose(from_zeros, outputs)


@cells
def test_sizes_and_the_names_of_the_recurrent_weights(name):
    layer = Unrolled(cell_of(name))
    assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
    assert layer.recurrent_weights == ("cell.weight_hidden",)
