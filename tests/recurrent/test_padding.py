"""Rows of unequal lengths: as if each were read alone, and its padding were not there."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from charlm.recurrent.build import SCRATCH, TORCH, build_stack
from charlm.recurrent.core import map_state
from charlm.recurrent.padding import pack, reverse, unpack

STEPS, BATCH, INPUTS, HIDDEN = 6, 4, 5, 3
LENGTHS = [4, 1, 6, 4]
EXACT = {"rtol": 1e-10, "atol": 1e-12}

LAYERS = [(cell, "scratch") for cell in SCRATCH] + [(cell, "torch") for cell in TORCH]
every_layer = pytest.mark.parametrize(("cell", "backend"), LAYERS)
both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
deep = pytest.mark.parametrize("num_layers", [1, 3])


def stack_of(cell: str, backend: str, num_layers: int = 1, bidirectional: bool = False):
    """Large weights, so that every step matters."""
    stack = build_stack(
        cell,
        backend,
        input_size=INPUTS,
        hidden_size=HIDDEN,
        num_layers=num_layers,
        bidirectional=bidirectional,
    ).double()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter)
    return stack


def random_state(stack):
    return map_state(torch.randn_like, stack.initial_state(BATCH))


def flat(state):
    return [state] if isinstance(state, torch.Tensor) else [t for part in state for t in flat(part)]


def results(run, stack, xs, first):
    """Outputs, final states, and the gradients of inputs, first states and weights."""
    stack.zero_grad()
    first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
    if xs.is_floating_point():
        xs = xs.clone().requires_grad_()
    outputs, last = run(stack, xs, first)
    torch.manual_seed(1)  # every output counts differently
    loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in (outputs, *flat(last)))
    loss.backward()
    leaves = [*flat(first), *stack.parameters(), *([xs] if xs.requires_grad else [])]
    return outputs, last, [leaf.grad for leaf in leaves]


def padded(stack, xs, first):
    return stack(xs, first, torch.tensor(LENGTHS))


def row_by_row(stack, xs, first):
    outputs, states = [], []
    for row, length in enumerate(LENGTHS):
        index = torch.tensor([row])
        state = map_state(lambda tensor, index=index: tensor[index], first)
        alone, state = stack(xs[:length, index], state)
        outputs.append(F.pad(alone, (0, 0, 0, 0, 0, STEPS - length)))
        states.append(state)
    return torch.cat(outputs, dim=1), map_state(lambda *rows: torch.cat(rows), *states)


@every_layer
@both_ways
@deep
@pytest.mark.parametrize("kind", ["features", "ids"])
def test_each_row_is_as_if_alone(cell, backend, bidirectional, num_layers, kind):
    stack = stack_of(cell, backend, num_layers, bidirectional)
    xs = torch.randn(STEPS, BATCH, INPUTS).double()
    if kind == "ids":
        xs = torch.randint(INPUTS, (STEPS, BATCH))
    first = random_state(stack)
    together, alone = (results(run, stack, xs, first) for run in (padded, row_by_row))
    torch.testing.assert_close(together, alone, **EXACT)


@every_layer
@both_ways
@deep
def test_what_stands_in_the_padding_never_matters(cell, backend, bidirectional, num_layers):
    stack = stack_of(cell, backend, num_layers, bidirectional)
    first = random_state(stack)
    outside = torch.arange(STEPS).unsqueeze(1) >= torch.tensor(LENGTHS)
    for xs, rubbish in (
        (torch.randn(STEPS, BATCH, INPUTS).double(), math.nan),
        (torch.randn(STEPS, BATCH, INPUTS).double(), math.inf),
        (torch.randint(INPUTS, (STEPS, BATCH)), -100),
    ):
        wanted = results(padded, stack, xs, first)
        xs[outside] = rubbish
        found = results(padded, stack, xs, first)
        assert all(tensor.isfinite().all() for tensor in flat(found))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        if xs.is_floating_point():
            assert not found[2][-1][outside].any()


@every_layer
@both_ways
def test_whole_rows_need_no_lengths(cell, backend, bidirectional):
    stack = stack_of(cell, backend, 2, bidirectional)
    for steps in (1, STEPS):
        xs, first = torch.randn(steps, BATCH, INPUTS).double(), random_state(stack)
        found = stack(xs, first, torch.full((BATCH,), steps))
        torch.testing.assert_close(found, stack(xs, first), **EXACT)


@every_layer
@both_ways
def test_padding_of_all_rows_is_more_zeros(cell, backend, bidirectional):
    stack = stack_of(cell, backend, 2, bidirectional)
    xs, first = torch.randn(STEPS + 3, BATCH, INPUTS).double(), random_state(stack)
    lengths = torch.tensor(LENGTHS)
    outputs, last = stack(xs, first, lengths)
    wanted = stack(xs[:STEPS], first, lengths)
    torch.testing.assert_close((outputs[:STEPS], last), wanted, **EXACT)
    assert not outputs[STEPS:].any()


@every_layer
def test_a_split_sequence_is_the_whole(cell, backend):
    stack = stack_of(cell, backend, 2)
    xs, first = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(stack)
    whole = stack(xs, first, torch.tensor([6, 5, 4, 3]))
    left, state = stack(xs[:2], first)
    right, last = stack(xs[2:], state, torch.tensor([4, 3, 2, 1]))
    torch.testing.assert_close((torch.cat([left, right]), last), whole, **EXACT)


@every_layer
@both_ways
@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ([4, 0, 6, 4], "lengths are from 0 to 6; 1 to 6 are possible"),
        ([4, 1, -1, 4], "lengths are from -1 to 4; 1 to 6 are possible"),
        ([4, 1, 7, 4], "lengths are from 1 to 7; 1 to 6 are possible"),
        ([4, 1, 6], r"torch.int64 of shape \(3,\); they must be torch.int64 of shape \(4,\)"),
        ([[4, 1, 6, 4]], r"of shape \(1, 4\); they must be"),
        ([4.0, 1.0, 6.0, 4.0], "lengths are torch.float32 of shape"),
    ],
    ids=str,
)
def test_other_lengths_are_refused(cell, backend, bidirectional, lengths, said):
    stack = stack_of(cell, backend, 2, bidirectional)
    xs, first = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(stack)
    with pytest.raises(ValueError, match=said):
        stack(xs, first, torch.tensor(lengths))


# The functions


@pytest.mark.parametrize("lengths", [[4, 1, 6, 4], [1, 1, 1, 1], [6, 6, 6, 6], [1, 2, 3, 4]])
def test_packing_there_and_back(lengths):
    xs, lengths = torch.randn(STEPS, BATCH, 2), torch.tensor(lengths)
    packed = pack(xs, lengths)
    assert len(packed.data) == lengths.sum()
    outside = torch.arange(STEPS).unsqueeze(1) >= lengths
    assert torch.equal(unpack(packed, STEPS), xs.masked_fill(outside.unsqueeze(2), 0))


def test_rows_are_reversed_each_in_itself():
    xs = torch.tensor([[1, 5, 9], [2, 6, 0], [3, 0, 0], [4, 0, 0]])
    turned = torch.tensor([[4, 6, 9], [3, 5, 0], [2, 0, 0], [1, 0, 0]])
    lengths = torch.tensor([4, 2, 1])
    assert torch.equal(reverse(xs, lengths), turned)
    assert torch.equal(reverse(turned, lengths), xs)
    assert torch.equal(reverse(xs, None), xs.flip(0))
    features = torch.randn(4, 3, 2)
    for row, length in enumerate(lengths.tolist()):
        found = reverse(features, lengths)[:, row]
        steps = itertools.chain(range(length - 1, -1, -1), range(length, 4))
        assert torch.equal(found, features[list(steps), row])
