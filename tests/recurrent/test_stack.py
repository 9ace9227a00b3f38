from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.build import SCRATCH, TORCH, build_layer, build_stack
from charlm.recurrent.core import map_state
from charlm.recurrent.stack import LockedDropout, Stack, WeightDropout, drop_entries
from charlm.recurrent.torch_layers import copy_to_torch

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 8
CLOSE = {"rtol": 0, "atol": 1e-12}

cells = pytest.mark.parametrize("cell", TORCH)
backends = pytest.mark.parametrize("backend", ["scratch", "torch"])


def features() -> Tensor:
    return torch.randn(STEPS, BATCH, INPUTS).double()


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


def stack_of(cell: str, backend: str, num_layers: int = 3, **dropouts: float) -> Stack:
    return build_stack(
        cell, backend, input_size=INPUTS, hidden_size=HIDDEN, num_layers=num_layers, **dropouts
    ).double()


def inner(layer):
    return layer.layer if isinstance(layer, WeightDropout) else layer


def both_backends(cell: str, **dropouts: float) -> tuple[Stack, Stack]:
    """A scratch and a torch stack of the same weights."""
    ours, theirs = (stack_of(cell, backend, **dropouts) for backend in ("scratch", "torch"))
    for scratch, layer in zip(ours.layers, theirs.layers, strict=True):
        copy_to_torch(inner(scratch).cell, inner(layer).network)
    return ours, theirs


# Depth


@cells
@backends
def test_layers_lie_on_top_of_each_other(cell, backend):
    stack = stack_of(cell, backend)
    xs, first = features(), random_state(stack)
    outputs, last = stack(xs, first)
    wanted, states = xs, []
    for layer, state in zip(stack.layers, first, strict=True):
        wanted, state = layer(wanted, state)
        states.append(state)
    assert outputs.shape == (STEPS, BATCH, HIDDEN)
    assert torch.equal(outputs, wanted)
    torch.testing.assert_close(last, tuple(states), rtol=0, atol=0)


@cells
@backends
def test_each_layer_has_its_own_weights_and_state(cell, backend):
    stack = stack_of(cell, backend)
    assert [layer.input_size for layer in stack.layers] == [INPUTS, HIDDEN, HIDDEN]
    parameters = list(stack.parameters())
    assert len({parameter.data_ptr() for parameter in parameters}) == len(parameters)
    state = stack.initial_state(BATCH)
    assert len(state) == 3
    for tensor in (tensor for layer_state in state for tensor in layer_state):
        assert torch.equal(tensor, torch.zeros(BATCH, HIDDEN, dtype=torch.float64))


@cells
@backends
def test_a_split_sequence_is_the_whole(cell, backend):
    stack = stack_of(cell, backend)
    xs, first = features(), random_state(stack)
    left, middle = stack(xs[:2], first)
    right, last = stack(xs[2:], middle)
    torch.testing.assert_close((torch.cat([left, right]), last), stack(xs, first), **CLOSE)


@cells
def test_both_backends_agree_on_ids_and_features(cell):
    ours, theirs = both_backends(cell)
    first = random_state(ours)
    for xs in (features(), torch.randint(INPUTS, (STEPS, BATCH))):
        torch.testing.assert_close(ours(xs, first), theirs(xs, first), **CLOSE)


# Locked dropout


def test_a_mask_holds_for_all_steps_and_differs_between_rows():
    dropped = LockedDropout(0.5)(torch.ones(STEPS, BATCH, 64))
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert not torch.equal(dropped[0, 0], dropped[0, 1])
    assert set(dropped.unique().tolist()) == {0, 2}


def test_each_sequence_has_a_mask_of_its_own():
    dropout, xs = LockedDropout(0.5), torch.ones(1, BATCH, 64)
    assert not torch.equal(dropout(xs), dropout(xs))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_share_and_the_expectation(probability):
    dropped = LockedDropout(probability)(torch.ones(1, 100, 1000))
    assert float((dropped == 0).float().mean()) == pytest.approx(probability, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.04)


def test_no_dropout_in_evaluation_or_with_probability_zero():
    xs = torch.randn(STEPS, BATCH, 64)
    assert torch.equal(LockedDropout(0.9).eval()(xs), xs)
    assert torch.equal(LockedDropout(0.0)(xs), xs)


def test_locked_dropout_passes_the_gradient_of_what_it_kept():
    xs = torch.randn(STEPS, BATCH, 64, requires_grad=True)
    dropped = LockedDropout(0.5)(xs)
    dropped.sum().backward()
    assert torch.equal(xs.grad, dropped.detach().ne(0) * 2.0)


@backends
def test_dropout_lies_between_layers_only(backend):
    stack = stack_of("lstm", backend, dropout=0.5)
    xs, state = features(), random_state(stack)
    torch.manual_seed(1)
    outputs, _ = stack(xs, state)
    torch.manual_seed(1)
    dropout, wanted = LockedDropout(0.5), xs
    for depth, (layer, layer_state) in enumerate(zip(stack.layers, state, strict=True)):
        wanted, _ = layer(wanted if depth == 0 else dropout(wanted), layer_state)
    assert torch.equal(outputs, wanted)
    plain, _ = stack.eval()(xs, state)
    assert not torch.allclose(outputs, plain)


@backends
def test_one_layer_has_nothing_between(backend):
    stack = stack_of("lstm", backend, num_layers=1, dropout=0.9)
    xs, state = features(), random_state(stack)
    assert torch.equal(stack(xs, state)[0], stack.eval()(xs, state)[0])


@cells
def test_locked_dropout_is_the_same_for_both_backends_under_the_same_seed(cell):
    ours, theirs = both_backends(cell, dropout=0.4)
    xs, state = features(), random_state(ours)
    results = []
    for stack in (ours, theirs):
        torch.manual_seed(3)
        results.append(stack(xs, state))
    torch.testing.assert_close(*results, **CLOSE)
    torch.manual_seed(4)
    assert not torch.allclose(ours(xs, state)[0], results[0][0])


# Weight dropout


def weight_dropout_of(cell: str, backend: str, probability: float = 0.3, hidden: int = HIDDEN):
    layer = build_layer(cell, backend, INPUTS, hidden).double()
    return WeightDropout(layer, probability)


@cells
@backends
def test_weight_dropout_is_the_layer_in_evaluation(cell, backend):
    layer = weight_dropout_of(cell, backend).eval()
    xs, state = features(), random_state(layer)
    torch.testing.assert_close(layer(xs, state), layer.layer(xs, state), rtol=0, atol=0)
    off = WeightDropout(layer.layer, 0.0)
    torch.testing.assert_close(off(xs, state), layer.layer(xs, state), rtol=0, atol=0)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])  # relu has zero gradients of its own
@backends
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_weight_dropout_drops_its_share(cell, backend, probability):
    layer = weight_dropout_of(cell, backend, probability, hidden=40)
    weight = layer.get_parameter(layer.recurrent_weight)
    xs, state = features(), random_state(layer)
    outputs, _ = layer(xs, state)
    (outputs * torch.randn_like(outputs)).sum().backward()
    share = float((weight.grad == 0).double().mean())
    assert share == pytest.approx(probability, abs=0.04)
    assert all(parameter.grad is not None for parameter in layer.parameters())


@cells
@backends
def test_weight_dropout_is_the_layer_with_dropped_weights(cell, backend):
    layer = weight_dropout_of(cell, backend)
    xs, state = features(), random_state(layer)
    weight = layer.get_parameter(layer.recurrent_weight)
    stored = weight.detach().clone()
    torch.manual_seed(5)
    found = layer(xs, state)
    found[0].sum().backward()
    assert torch.equal(weight, stored)
    assert layer.get_parameter(layer.recurrent_weight) is weight
    torch.manual_seed(5)
    mask = drop_entries(torch.ones_like(weight), 0.3)
    assert mask.unique().tolist() == [0, 256 / (256 - 77)]  # 0.3, in 256ths
    assert not weight.grad[mask == 0].any()
    plain = build_layer(cell, backend, INPUTS, HIDDEN).double()
    plain.load_state_dict(layer.layer.state_dict())
    with torch.no_grad():
        plain.get_parameter(plain.recurrent_weight).mul_(mask)
    wanted = plain(xs, state)
    torch.testing.assert_close(found, wanted, **CLOSE)
    # The gradient of a weight that was kept is that of its scaled value, scaled.
    wanted[0].sum().backward()
    gradient = plain.get_parameter(plain.recurrent_weight).grad * mask
    torch.testing.assert_close(weight.grad, gradient, **CLOSE)
    for name, parameter in plain.named_parameters():
        if name != plain.recurrent_weight:
            torch.testing.assert_close(layer.layer.get_parameter(name).grad, parameter.grad)


@backends
def test_each_sequence_has_dropped_weights_of_its_own(backend):
    layer = weight_dropout_of("lstm", backend)
    xs, state = features(), random_state(layer)
    assert not torch.equal(layer(xs, state)[0], layer(xs, state)[0])


@cells
def test_weight_dropout_is_the_same_for_both_backends_under_the_same_mask(cell, monkeypatch):
    ours, theirs = both_backends(cell, weight_dropout=0.4)
    assert all(isinstance(layer, WeightDropout) for layer in (*ours.layers, *theirs.layers))
    xs, state = features(), random_state(ours)
    masks = [torch.randn_like(inner(layer).cell.weight_hidden) > 0 for layer in ours.layers]
    results = []
    for stack, turned in ((ours, False), (theirs, True)):
        left = iter(masks)

        def dropout(weight, probability, left=left, turned=turned):
            assert probability == 0.4
            mask = next(left)
            return weight * (mask.T if turned else mask)  # torch keeps its weights transposed

        monkeypatch.setattr("charlm.recurrent.stack.drop_entries", dropout)
        results.append(stack(xs, state))
    torch.testing.assert_close(*results, **CLOSE)


@cells
@backends
def test_weight_dropout_hands_lengths_on(cell, backend):
    layer = weight_dropout_of(cell, backend)
    xs, state = features(), random_state(layer)
    torch.manual_seed(5)
    wanted, last = layer(xs[:4], state)
    xs[4:] = float("nan")
    torch.manual_seed(5)
    outputs, found = layer(xs, state, torch.full((BATCH,), 4))
    torch.testing.assert_close((outputs[:4], found), (wanted, last), **CLOSE)
    assert not outputs[4:].any()


@cells
@backends
def test_weight_dropout_is_a_layer_itself(cell, backend):
    layer = weight_dropout_of(cell, backend)
    assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
    torch.testing.assert_close(layer.initial_state(2), layer.layer.initial_state(2))
    name = layer.layer.recurrent_weight
    weight = layer.get_parameter(layer.recurrent_weight)
    assert weight is layer.layer.get_parameter(name)


@pytest.mark.parametrize("shape", [(3, 5), (64, 1536)])
@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.999])
def test_entries_are_dropped_as_by_torchs_dropout(shape, probability):
    """The quick way to draw a mask beside F.dropout: scale, share and mean."""
    weights = torch.rand(shape, dtype=torch.float64) + 1
    quick, slow = drop_entries(weights, probability), F.dropout(weights, probability)
    share = min(round(256 * probability), 255) / 256
    assert abs(share - probability) <= 1 / 256
    kept = quick != 0
    torch.testing.assert_close(quick[kept], weights[kept] / (1 - share))
    count = weights.numel()
    spread = 5 * (count * share * (1 - share)) ** 0.5
    for dropped in (quick, slow):
        assert abs(int((dropped == 0).sum()) - count * share) <= spread + count / 256


def test_every_entry_is_dropped_as_often_as_the_others_and_independently():
    draws = torch.stack([drop_entries(torch.ones(24), 0.25) for _ in range(4000)]) == 0
    frequencies = draws.double().mean(0)
    assert (frequencies - 0.25).abs().max() < 0.04
    correlations = torch.corrcoef(draws.double().T) - torch.eye(24)
    assert correlations.abs().max() < 0.1


# Without the final state


@pytest.mark.parametrize(
    ("cell", "backend"),
    [(cell, "scratch") for cell in SCRATCH] + [(cell, "torch") for cell in TORCH],
)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "features"])
def test_without_final_states_the_outputs_and_gradients_are_the_same(
    cell, backend, num_layers, ids
):
    """Padded and packed rows; dropout and dropped weights draw the same on both paths."""
    stack = stack_of(cell, backend, num_layers, dropout=0.3, weight_dropout=0.3)
    xs = torch.randint(INPUTS, (STEPS, BATCH)) if ids else features().requires_grad_()
    first, lengths = random_state(stack), torch.tensor([2, STEPS, 1])
    leaves = [*stack.parameters(), *(() if ids else (xs,))]
    found = []
    for final_state in (True, False):
        torch.manual_seed(1)
        outputs, _ = stack(xs, first, lengths, final_state=final_state)
        weights = torch.randn_like(outputs)
        found.append((outputs, torch.autograd.grad((outputs * weights).sum(), leaves)))
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize(
    ("cell", "backend"),
    [(cell, "scratch") for cell in SCRATCH] + [(cell, "torch") for cell in TORCH],
)
def test_without_final_states_whole_rows_are_as_ever(cell, backend):
    stack = stack_of(cell, backend).eval()
    xs, first = features(), random_state(stack)
    wanted = stack(xs, first)
    torch.testing.assert_close(stack(xs, first, final_state=False), wanted, rtol=0, atol=0)
