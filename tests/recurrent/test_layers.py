"""What holds for every layer: scratch and torch, one way and both ways, one and several."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import build_layer, build_stack
from charlm.recurrent.cells import CELLS
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.padding import pack, reverse, unpack
from charlm.recurrent.parity import _run_torch
from charlm.recurrent.stack import LockedDropout, Stack
from charlm.recurrent.states import BidirectionalState, map_state, state_tensors
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 6, 4, 5, 3
LENGTHS = torch.tensor([4, 1, 6, 4])
OUTSIDE = torch.arange(STEPS).unsqueeze(1) >= LENGTHS
EXACT = {"rtol": 1e-10, "atol": 1e-12}
EQUAL = {"rtol": 0, "atol": 0}
TORCH = [name for name, kind in CELLS.items() if kind.torch]

every_layer = pytest.mark.parametrize(
    ("cell", "backend"),
    [*itertools.product(CELLS, ["scratch"]), *itertools.product(TORCH, ["torch"])],
)
both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])


def in_pairs(*names: str):
    """The yes and no of these names; any two of them meet in each way.

    The last is decided by the others, which halves the number of tests.
    """
    others = itertools.product((False, True), repeat=len(names) - 1)
    return pytest.mark.parametrize(names, [(*row, sum(row) % 2 == 1) for row in others])


def stack_of(cell, backend, num_layers=1, bidirectional=False, **dropouts) -> Stack:
    """Large weights, so that every step matters."""
    stack = build_stack(
        cell,
        backend,
        input_size=INPUTS,
        hidden_size=HIDDEN,
        num_layers=num_layers,
        bidirectional=bidirectional,
        **{"dropout": 0.0, "weight_dropout": 0.0, **dropouts},
    ).double()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter)
    return stack


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


def inputs(ids: bool = False, steps: int = STEPS):
    if ids:
        return torch.randint(INPUTS, (steps, BATCH))
    return torch.randn(steps, BATCH, INPUTS).double()


# Padding


@every_layer
@in_pairs("bidirectional", "deep", "ids")
def test_each_row_is_as_if_alone(cell, backend, bidirectional, deep, ids, results):
    stack = stack_of(cell, backend, 3 if deep else 1, bidirectional)
    xs, first = inputs(ids), random_state(stack)

    def row_by_row(xs, first):
        outputs, states = [], []
        for row, length in enumerate(LENGTHS.tolist()):
            index = torch.tensor([row])
            state = map_state(lambda tensor, index=index: tensor[index], first)
            alone, state = stack(xs[:length, index], state)
            outputs.append(F.pad(alone, (0, 0, 0, 0, 0, STEPS - length)))
            states.append(state)
        return torch.cat(outputs, dim=1), map_state(lambda *rows: torch.cat(rows), *states)

    alone = results(row_by_row, stack, xs, first)
    padded = results(partial(stack, lengths=LENGTHS), stack, xs, first)
    torch.testing.assert_close(padded, alone, **EXACT)


@every_layer
@pytest.mark.parametrize(
    ("bidirectional", "num_layers", "rubbish"),
    [
        *((False, 1, math.nan), (True, 3, math.nan), (False, 3, math.inf), (True, 1, math.inf)),
        *((False, 1, -100), (True, 3, -100)),
    ],
)
def test_the_padding_is_never_read(cell, backend, bidirectional, num_layers, rubbish, results):
    stack = stack_of(cell, backend, num_layers, bidirectional)
    xs, first = inputs(ids=rubbish == -100), random_state(stack)
    run = partial(stack, lengths=LENGTHS)
    wanted = results(run, stack, xs, first)
    xs[OUTSIDE] = rubbish
    found = results(run, stack, xs, first)
    assert all(tensor.isfinite().all() for tensor in state_tensors(found))
    torch.testing.assert_close(found, wanted, **EQUAL)
    if xs.is_floating_point():
        assert not found[2][-1][OUTSIDE].any()


@every_layer
@both_ways
def test_full_lengths_change_nothing_and_more_padding_is_zeros(cell, backend, bidirectional):
    stack = stack_of(cell, backend, 2, bidirectional)
    for steps in (1, STEPS):
        xs, first = inputs(steps=steps), random_state(stack)
        found = stack(xs, first, torch.full((BATCH,), steps))
        torch.testing.assert_close(found, stack(xs, first), **EXACT)
    longer = F.pad(xs, (0, 0, 0, 0, 0, 3))
    outputs, last = stack(longer, first, LENGTHS)
    torch.testing.assert_close((outputs[:STEPS], last), stack(xs, first, LENGTHS), **EXACT)
    assert not outputs[STEPS:].any()


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
    for run in (stack, stack.outputs):
        with pytest.raises(ValueError, match=said):
            run(inputs(), random_state(stack), torch.tensor(lengths))


@pytest.mark.parametrize("lengths", [[4, 1, 6, 4], [1, 1, 1, 1], [6, 6, 6, 6], [1, 2, 3, 4]])
def test_unpack_is_the_inverse_of_pack(lengths):
    xs, lengths = inputs(), torch.tensor(lengths)
    packed = pack(xs, lengths)
    assert len(packed.data) == lengths.sum()
    outside = torch.arange(STEPS).unsqueeze(1) >= lengths
    assert torch.equal(unpack(packed, STEPS), xs.masked_fill(outside.unsqueeze(2), 0))


def test_reverse_turns_the_valid_steps_of_each_row():
    xs = torch.tensor([[1, 5, 9], [2, 6, 0], [3, 0, 0], [4, 0, 0]])
    turned = torch.tensor([[4, 6, 9], [3, 5, 0], [2, 0, 0], [1, 0, 0]])
    lengths = torch.tensor([4, 2, 1])
    assert torch.equal(reverse(xs, lengths), turned)
    assert torch.equal(reverse(turned, lengths), xs)
    assert torch.equal(reverse(xs, None), xs.flip(0))
    features = xs.unsqueeze(2) * torch.tensor([1, 10])
    assert torch.equal(reverse(features, lengths), turned.unsqueeze(2) * torch.tensor([1, 10]))


# The outputs alone


@every_layer
@in_pairs("bidirectional", "deep", "ids", "padded")
def test_outputs_are_those_of_forward(cell, backend, bidirectional, deep, ids, padded, results):
    """Values and gradients; both draw the same dropout."""
    num_layers, lengths = 3 if deep else 1, LENGTHS if padded else None
    stack = stack_of(cell, backend, num_layers, bidirectional, dropout=0.3, weight_dropout=0.3)
    xs, first = inputs(ids), random_state(stack)

    found = []
    for run in (lambda *given: stack(*given, lengths)[0], partial(stack.outputs, lengths=lengths)):
        torch.manual_seed(2)
        found.append(results(lambda *given, run=run: (run(*given), ()), stack, xs, first))
    torch.testing.assert_close(*found, **EXACT)
    assert torch.equal(stack.eval()(xs, first)[0], stack.outputs(xs, first))


@pytest.mark.parametrize("cell", TORCH)
def test_padding_never_spoils_a_gradient(cell):
    """Even where it is much longer than the rows and the state grows on it."""
    layer = build_layer(cell, "torch", input_size=INPUTS, hidden_size=HIDDEN)
    weight = layer.network.weight_hh_l0
    torch.nn.init.zeros_(weight).data += 2 * torch.eye(HIDDEN).repeat(len(weight) // HIDDEN, 1)
    outputs = layer.outputs(
        torch.randn(300, 3, INPUTS), layer.initial_state(3), torch.tensor([2, 3, 2])
    )
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


# One layer, two directions, several layers


@every_layer
@both_ways
def test_ids_are_one_hot_features(cell, backend, bidirectional, results):
    stack = stack_of(cell, backend, 2, bidirectional)
    ids, first = inputs(ids=True), random_state(stack)
    outputs, last, gradients = results(stack, stack, F.one_hot(ids, INPUTS).double(), first)
    wanted = outputs, last, gradients[:-1]  # ids have no gradient
    torch.testing.assert_close(results(stack, stack, ids, first), wanted, **EXACT)


@every_layer
def test_a_split_sequence_gives_the_same_as_the_whole(cell, backend, results):
    stack = stack_of(cell, backend, 2)
    xs, first = inputs(), random_state(stack)

    def in_two(xs, first):
        left, state = stack(xs[:2], first)
        right, last = stack(xs[2:], state, torch.tensor([4, 3, 2, 1]))
        return torch.cat([left, right]), last

    whole = partial(stack, lengths=torch.tensor([6, 5, 4, 3]))
    found, wanted = (results(run, stack, xs, first) for run in (in_two, whole))
    torch.testing.assert_close(found, wanted, **EXACT)


@every_layer
@both_ways
def test_layers_are_stacked_with_dropout_between_them(cell, backend, bidirectional):
    stack = stack_of(cell, backend, 3, bidirectional, dropout=0.5)
    width = HIDDEN * (1 + bidirectional)
    assert [layer.input_size for layer in stack.layers] == [INPUTS, width, width]
    assert stack.output_size == width
    xs, first = inputs(), random_state(stack)
    torch.manual_seed(1)
    found = stack(xs, first, LENGTHS)
    torch.manual_seed(1)
    wanted, last, dropout = xs, [], LockedDropout(0.5)
    for depth, (layer, state) in enumerate(zip(stack.layers, first, strict=True)):
        wanted, state = layer(dropout(wanted) if depth else wanted, state, LENGTHS)
        last.append(state)
    torch.testing.assert_close(found, (wanted, tuple(last)), **EQUAL)
    assert not torch.allclose(found[0], stack.eval()(xs, first, LENGTHS)[0])


@every_layer
def test_each_direction_reads_on_its_own(cell, backend):
    (layer,) = stack_of(cell, backend, bidirectional=True).layers
    xs, first = inputs(), random_state(layer)
    ahead, last_ahead = layer.forward_layer(xs, first.forward)
    back, last_back = layer.backward_layer(xs.flip(0), first.backward)
    wanted = torch.cat([ahead, back.flip(0)], dim=2), BidirectionalState(last_ahead, last_back)
    torch.testing.assert_close(layer(xs, first), wanted, **EQUAL)


@every_layer
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_the_final_states_of_the_directions_are_at_opposite_ends(cell, backend, lengths):
    (layer,) = stack_of(cell, backend, bidirectional=True).layers
    outputs, last = layer(inputs(), random_state(layer), lengths)
    ends = torch.full((BATCH,), STEPS) if lengths is None else lengths
    assert torch.equal(last.forward[0], outputs[ends - 1, torch.arange(BATCH), :HIDDEN])
    assert torch.equal(last.backward[0], outputs[0, :, HIDDEN:])


@pytest.mark.parametrize("cell", TORCH)
@both_ways
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_two_torch_layers_are_one_network_of_torch(cell, bidirectional, lengths, results):
    stack = stack_of(cell, "torch", 2, bidirectional)
    sizes = {"input_size": INPUTS, "hidden_size": HIDDEN, "num_layers": 2}
    network = CELLS[cell].torch(**sizes, bidirectional=bidirectional).double()
    for ours, theirs in zip(stack.parameters(), network.parameters(), strict=True):
        theirs.data.copy_(ours)
    xs, first = inputs(), random_state(stack)
    run = partial(_run_torch, network, 2 * (1 + bidirectional), lengths=lengths)
    wanted, last, gradients = results(run, network, xs, first)
    outputs, states, found = results(partial(stack, lengths=lengths), stack, xs, first)
    found, wanted = (outputs, state_tensors(states), found), (wanted, list(last), gradients)
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("cell", ["jordan", "lstm"])
def test_gradcheck_of_both_directions(cell, gradcheck):
    (layer,) = stack_of(cell, "scratch", bidirectional=True).layers
    assert gradcheck(layer, inputs(steps=3), random_state(layer), LENGTHS.clamp(max=3))


def test_the_directions_may_differ_in_kind_and_size():
    layer = Bidirectional(
        build_layer("lstm", "torch", input_size=INPUTS, hidden_size=3),
        Unrolled(JordanCell(INPUTS, 7, output_size=2, activation="softmax")),
    )
    assert (layer.input_size, layer.output_size) == (INPUTS, 3 + 2)
    above = build_layer("rnn", "scratch", input_size=5, hidden_size=4)
    stack = Stack([layer, above], dropout=0.0)
    assert layer.bidirectional
    assert not stack.bidirectional
    outputs, last = stack(inputs().float(), stack.initial_state(BATCH), LENGTHS)
    assert outputs.shape == (STEPS, BATCH, 4)
    assert last[0].backward.output.shape == (BATCH, 2)
    with pytest.raises(AssertionError):
        Bidirectional(layer, above.__class__(JordanCell(4, 3, output_size=3, activation="tanh")))
