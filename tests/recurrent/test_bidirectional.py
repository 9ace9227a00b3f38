"""Both directions; see `test_agreement.py` and `test_padding.py` too."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import SCRATCH, TORCH, build_layer, build_stack
from charlm.recurrent.core import BidirectionalState, JordanState, LSTMState, map_state
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.stack import Stack, WeightDropout
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 6, 4, 5, 3
LENGTHS = torch.tensor([4, 1, 6, 4])
EXACT = {"rtol": 0, "atol": 1e-12}

every_layer = pytest.mark.parametrize(
    ("cell", "backend"),
    [(cell, "scratch") for cell in SCRATCH] + [(cell, "torch") for cell in TORCH],
)
with_and_without = pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["padded", "whole"])


def layer_of(cell: str, backend: str = "scratch") -> Bidirectional:
    layers = (build_layer(cell, backend, INPUTS, HIDDEN) for _ in range(2))
    return Bidirectional(*layers).double()


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


def features() -> torch.Tensor:
    return torch.randn(STEPS, BATCH, INPUTS).double()


@every_layer
def test_each_direction_reads_for_itself(cell, backend):
    layer = layer_of(cell, backend)
    xs, first = features(), random_state(layer)
    ahead, last_ahead = layer.forward_layer(xs, first.forward)
    back, last_back = layer.backward_layer(xs.flip(0), first.backward)
    outputs, last = layer(xs, first)
    assert torch.equal(outputs, torch.cat([ahead, back.flip(0)], dim=2))
    torch.testing.assert_close(last, BidirectionalState(last_ahead, last_back), rtol=0, atol=0)


@every_layer
@with_and_without
def test_the_final_states_are_at_opposite_ends(cell, backend, lengths):
    layer = layer_of(cell, backend)
    outputs, last = layer(features(), random_state(layer), lengths)
    ends = torch.full((BATCH,), STEPS) if lengths is None else lengths
    assert torch.equal(last.forward[0], outputs[ends - 1, torch.arange(BATCH), :HIDDEN])
    assert torch.equal(last.backward[0], outputs[0, :, HIDDEN:])


def run_torch(network, xs, first, lengths):
    """A torch network's outputs and final states, the latter as a stack of two layers has them."""
    directions = [state for layer in first for state in layer]
    given = [torch.stack(tensors) for tensors in zip(*directions, strict=True)]
    packed = xs
    if lengths is not None:
        packed = pack_padded_sequence(xs, lengths, enforce_sorted=False)
    outputs, last = network(packed, tuple(given) if len(given) == 2 else given[0])
    if lengths is not None:
        outputs, _ = pad_packed_sequence(outputs)
    last = last if isinstance(last, tuple) else (last,)
    directions = [type(directions[0])(*tensors) for tensors in zip(*last, strict=True)]
    return outputs, (BidirectionalState(*directions[:2]), BidirectionalState(*directions[2:]))


@pytest.mark.parametrize("cell", TORCH)
@with_and_without
def test_two_layers_are_torchs_own(cell, lengths):
    network = TORCH[cell](INPUTS, HIDDEN, num_layers=2, bidirectional=True).double()
    stack = build_stack(
        cell, "torch", input_size=INPUTS, hidden_size=HIDDEN, num_layers=2, bidirectional=True
    ).double()
    for ours, theirs in zip(stack.parameters(), network.parameters(), strict=True):
        ours.data.copy_(theirs)
    xs, first = features().requires_grad_(), random_state(stack)
    first = map_state(lambda tensor: tensor.requires_grad_(), first)
    leaves = [xs, *(tensor for layer in first for state in layer for tensor in state)]
    found = []
    for module, run in ((stack, stack), (network, lambda *given: run_torch(network, *given))):
        outputs, last = run(xs, first, lengths)
        torch.manual_seed(1)  # every output counts differently
        tensors = [outputs, *(tensor for layer in last for state in layer for tensor in state)]
        loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in tensors)
        gradients = torch.autograd.grad(loss, [*leaves, *module.parameters()])
        found.append((outputs, last, gradients))
    torch.testing.assert_close(*found, **EXACT)


@pytest.mark.parametrize("cell", ["jordan", "lstm"])
def test_gradients(cell):
    layer = layer_of(cell)
    names = [name for name, _ in layer.named_parameters()]
    first = random_state(layer)
    fields = len(first.forward)

    def run(xs, *tensors):
        state = BidirectionalState(
            type(first.forward)(*tensors[:fields]),
            type(first.backward)(*tensors[fields : 2 * fields]),
        )
        parameters = dict(zip(names, tensors[2 * fields :], strict=True))
        outputs, last = functional_call(layer, parameters, (xs, state, LENGTHS.clamp(max=3)))
        return outputs, *last.forward, *last.backward

    tensors = [features()[:3], *first.forward, *first.backward]
    tensors += [parameter.detach().clone() for parameter in layer.parameters()]
    assert torch.autograd.gradcheck(run, [tensor.requires_grad_() for tensor in tensors])


def test_the_directions_may_differ_in_kind_and_size():
    layer = Bidirectional(
        build_layer("lstm", "torch", INPUTS, 3), Unrolled(JordanCell(INPUTS, 7, 2, "softmax"))
    )
    state = layer.initial_state(BATCH)
    assert isinstance(state.forward, LSTMState)
    assert isinstance(state.backward, JordanState)
    assert (layer.input_size, layer.output_size) == (INPUTS, 3 + 2)
    outputs, last = layer(torch.randn(STEPS, BATCH, INPUTS), state, LENGTHS)
    assert outputs.shape == (STEPS, BATCH, 5)
    assert map_state(torch.zeros_like, last).backward.output.shape == (BATCH, 2)
    with pytest.raises(AssertionError):
        Bidirectional(build_layer("rnn", "torch", 4, 3), build_layer("rnn", "torch", 5, 3))


def test_it_lies_in_a_stack_with_other_layers():
    below, above = layer_of("gru"), build_layer("lstm", "torch", 2 * HIDDEN, 7).double()
    stack = Stack([below, above])
    assert stack.output_size == 7
    xs, first = features(), random_state(stack)
    wanted, last_below = below(xs, first[0], LENGTHS)
    wanted, last_above = above(wanted, first[1], LENGTHS)
    found = stack(xs, first, LENGTHS)
    torch.testing.assert_close(found, (wanted, (last_below, last_above)), rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["scratch", "torch"])
def test_weight_dropout_is_within_each_direction(backend):
    plain = layer_of("lstm", backend)
    layer = Bidirectional(*(WeightDropout(part, 0.5) for part in plain.children()))
    xs, first = features(), random_state(layer)
    torch.testing.assert_close(layer.eval()(xs, first, LENGTHS), plain(xs, first, LENGTHS))
    layer.train()(xs, first, LENGTHS)[0].sum().backward()
    for part in (layer.forward_layer, layer.backward_layer):
        gradient = part.get_parameter(part.recurrent_weight).grad
        assert 0.2 < float((gradient == 0).double().mean()) < 0.8


@every_layer
@pytest.mark.parametrize("num_layers", [1, 3])
def test_without_final_states_the_outputs_and_gradients_are_the_same(cell, backend, num_layers):
    """The fast path through padding against packed sequences; dropout draws the same."""
    stack = build_stack(
        cell, backend, input_size=INPUTS, hidden_size=HIDDEN, num_layers=num_layers,
        bidirectional=True, dropout=0.3, weight_dropout=0.3,
    ).double()  # fmt: skip
    xs, first = features().requires_grad_(), random_state(stack)
    found = []
    for final_state in (True, False):
        torch.manual_seed(1)
        outputs, _ = stack(xs, first, LENGTHS, final_state=final_state)
        weights = torch.randn_like(outputs)  # every output counts differently
        leaves = [xs, *stack.parameters()]
        found.append((outputs, torch.autograd.grad((outputs * weights).sum(), leaves)))
    torch.testing.assert_close(*found, **EXACT)
