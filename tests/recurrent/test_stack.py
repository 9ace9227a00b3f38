"""Dropout between layers and on their weights, and zoneout."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import build_layer, build_stack
from charlm.recurrent.cell import recurrent_weights
from charlm.recurrent.cells import CELLS
from charlm.recurrent.stack import LockedDropout, WeightDropout, drop_entries
from charlm.recurrent.states import LSTMState, map_state
from charlm.recurrent.torch_layers import copy_to_torch
from charlm.recurrent.unroll import Unrolled
from charlm.recurrent.zoneout import ZoneoutCell

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 8
CLOSE = {"rtol": 0, "atol": 1e-12}
EQUAL = {"rtol": 0, "atol": 0}
TORCH = [name for name, kind in CELLS.items() if kind.torch]

cells = pytest.mark.parametrize("cell", TORCH)
backends = pytest.mark.parametrize("backend", ["scratch", "torch"])


def features() -> Tensor:
    return torch.randn(STEPS, BATCH, INPUTS).double()


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


def layer_of(cell: str, backend: str, hidden_size: int = HIDDEN):
    return build_layer(cell, backend, input_size=INPUTS, hidden_size=hidden_size).double()


# Locked dropout


def test_the_mask_is_the_same_at_all_steps_and_differs_between_rows_and_sequences():
    dropped = LockedDropout(0.5)(torch.ones(STEPS, BATCH, 64))
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    assert not torch.equal(dropped[0, 0], dropped[0, 1])
    assert set(dropped.unique().tolist()) == {0, 2}
    assert not torch.equal(dropped, LockedDropout(0.5)(torch.ones(STEPS, BATCH, 64)))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_share_and_the_expectation(probability):
    dropped = LockedDropout(probability)(torch.ones(1, 100, 1000))
    assert float((dropped == 0).float().mean()) == pytest.approx(probability, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.04)


def test_dropout_scales_the_kept_units_and_only_in_training():
    xs = torch.randn(STEPS, BATCH, 64, requires_grad=True)
    assert torch.equal(LockedDropout(0.9).eval()(xs), xs)
    assert torch.equal(LockedDropout(0.0)(xs), xs)
    dropped = LockedDropout(0.5)(xs)
    dropped.sum().backward()
    assert torch.equal(xs.grad, dropped.detach().ne(0) * 2.0)


@cells
def test_both_backends_drop_the_same_under_the_same_seed_and_mask(cell, monkeypatch):
    sizes = {"input_size": INPUTS, "hidden_size": HIDDEN, "num_layers": 3, "bidirectional": False}
    ours, theirs = (
        build_stack(cell, backend, **sizes, dropout=0.4, weight_dropout=0.4).double()
        for backend in ("scratch", "torch")
    )
    for scratch, layer in zip(ours.layers, theirs.layers, strict=True):
        copy_to_torch(scratch.layer.cell, layer.layer.network)
    masks = [torch.randn_like(layer.layer.cell.weight_hidden) > 0 for layer in ours.layers]
    xs, state, results = features(), random_state(ours), []
    for stack, transposed in ((ours, False), (theirs, True)):
        left = iter(masks)

        def dropout(weight, probability, left=left, transposed=transposed):
            assert probability == 0.4
            mask = next(left)
            return weight * (mask.T if transposed else mask)

        monkeypatch.setattr("charlm.recurrent.stack.drop_entries", dropout)
        torch.manual_seed(3)
        results.append(stack(xs, state))
    torch.testing.assert_close(*results, **CLOSE)


# Connections between layers


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
@pytest.mark.parametrize(("residual", "skip"), [(True, False), (False, True), (True, True)])
def test_residual_and_skip_connections(residual, skip, ids, bidirectional):
    """Against the layers called one by one, on rows of unequal lengths, with a state."""
    sizes = {"input_size": INPUTS, "hidden_size": HIDDEN, "num_layers": 3}
    options = {"dropout": 0.0, "weight_dropout": 0.0, "residual": residual, "skip": skip}
    stack = build_stack("gru", "scratch", **sizes, **options, bidirectional=bidirectional).double()
    xs = torch.randint(INPUTS, (STEPS, BATCH)) if ids else features()
    seen = F.one_hot(xs, INPUTS).double() if ids else xs
    state, lengths = random_state(stack), torch.tensor([STEPS, 2, 5])
    outputs, last = [], []
    for layer, layer_state in zip(stack.layers, state, strict=True):
        inputs = outputs[-1] if outputs else seen
        if skip and outputs:
            inputs = torch.cat([inputs, seen], dim=2)
        found, layer_state = layer(inputs, layer_state, lengths)
        outputs.append(found + outputs[-1] if residual and outputs else found)
        last.append(layer_state)
    wanted = outputs[-1]
    if skip:
        directions = [each.split(HIDDEN, dim=2) for each in outputs]
        wanted = torch.cat([part for way in zip(*directions, strict=True) for part in way], dim=2)
    assert stack.output_size == wanted.shape[2]
    torch.testing.assert_close(stack(xs, state, lengths), (wanted, tuple(last)), **CLOSE)
    assert not stack(xs, state, lengths)[0][2:, 1].any()  # the padding
    if not bidirectional:
        plain = stack(xs, state)[0]
        torch.testing.assert_close(
            stack.layer_outputs(xs, state)[-1], plain[..., -HIDDEN:], **CLOSE
        )


def test_dropout_is_on_the_way_up_and_not_on_the_connections():
    options = {"dropout": 0.5, "weight_dropout": 0.0, "residual": True, "skip": True}
    sizes = {"input_size": INPUTS, "hidden_size": HIDDEN, "num_layers": 2, "bidirectional": False}
    stack = build_stack("rnn", "scratch", **sizes, **options).double()
    lower, upper = stack.layers
    xs, state = features(), random_state(stack)
    torch.manual_seed(7)
    found = stack(xs, state)[0]
    below = lower.outputs(xs, state[0])
    torch.manual_seed(7)
    above = upper.outputs(torch.cat([stack.dropout(below), xs], dim=2), state[1])
    torch.testing.assert_close(found, torch.cat([below, above + below], dim=2), **CLOSE)


# Weight dropout


@cells
@backends
def test_weight_dropout_is_the_layer_in_evaluation_mode_or_with_probability_zero(cell, backend):
    plain = layer_of(cell, backend)
    xs, state = features(), random_state(plain)
    for layer in (WeightDropout(plain, 0.3).eval(), WeightDropout(plain, 0.0).train()):
        assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
        torch.testing.assert_close(layer.initial_state(BATCH), plain.initial_state(BATCH))
        torch.testing.assert_close(layer(xs, state), plain(xs, state), **EQUAL)
        assert torch.equal(layer.outputs(xs, state), plain.outputs(xs, state))


@cells
@backends
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_weight_dropout_is_the_layer_with_dropped_weights(cell, backend, probability):
    plain = layer_of(cell, backend, hidden_size=40)
    layer = WeightDropout(layer_of(cell, backend, hidden_size=40), probability)
    plain.load_state_dict(layer.layer.state_dict())
    (name,) = recurrent_weights(plain)
    weight = layer.get_parameter(f"layer.{name}")
    stored = weight.detach().clone()
    xs, state = features(), random_state(layer)
    assert not torch.equal(layer(xs, state)[0], layer(xs, state)[0])  # other weights are dropped
    torch.manual_seed(5)
    found = layer(xs, state)
    found[0].sum().backward()
    assert layer.get_parameter(f"layer.{name}") is weight
    assert torch.equal(weight, stored)
    torch.manual_seed(5)
    mask = drop_entries(torch.ones_like(weight), probability)
    assert float((mask == 0).double().mean()) == pytest.approx(probability, abs=0.04)
    with torch.no_grad():
        plain.get_parameter(name).mul_(mask)
    wanted = plain(xs, state)
    torch.testing.assert_close(found, wanted, **CLOSE)
    wanted[0].sum().backward()
    plain.get_parameter(name).grad *= mask  # the weight was scaled, and so is its gradient
    for parameter_name, parameter in plain.named_parameters():
        gradient = layer.layer.get_parameter(parameter_name).grad
        torch.testing.assert_close(gradient, parameter.grad, **CLOSE)


@backends
def test_weight_dropout_of_both_directions(backend):
    directions = [layer_of("lstm", backend) for _ in range(2)]
    around = WeightDropout(Bidirectional(*directions), 0.5)
    inside = Bidirectional(*(WeightDropout(layer, 0.5) for layer in directions))
    assert around.bidirectional
    xs, state, lengths = features(), random_state(around), torch.tensor([4, 1, STEPS])
    found = []
    for layer, run in itertools.product((around, inside), ("forward", "outputs")):
        torch.manual_seed(3)
        results = getattr(layer, run)(xs, state, lengths)
        found.append(results[0] if run == "forward" else results)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], **CLOSE)
    found[0].sum().backward()
    for name in recurrent_weights(around):
        gradient = around.get_parameter(name).grad
        assert 0.2 < float((gradient == 0).double().mean()) < 0.8


# Zoneout


@pytest.mark.parametrize("cell", CELLS)
def test_zoneout_mixes_the_state_before_and_after_a_step(cell):
    """In training each unit is one of the two, in the given share; else it is the expectation."""
    plain = layer_of(cell, "scratch", hidden_size=300).cell
    zoned = ZoneoutCell(plain, hidden=0.2, cell_state=0.7)
    state, x = (
        map_state(torch.randn_like, plain.initial_state(40)),
        torch.randn(40, INPUTS).double(),
    )
    _, new = plain(x, state)
    output, drawn = zoned(x, state)
    _, again = zoned(x, state)
    expected_output, expected = zoned.eval()(x, state)
    assert output is drawn[0]
    assert expected_output is expected[0]
    masks = []
    for name, was, now, part, mean in zip(new._fields, state, new, drawn, expected, strict=True):
        share = {"cell": 0.7}.get(name, 0.2)
        torch.testing.assert_close(mean, share * was + (1 - share) * now, **CLOSE)
        masks.append(part == was)
        assert torch.equal(part, torch.where(masks[-1], was, now))
        assert float(masks[-1].double().mean()) == pytest.approx(share, abs=0.02)
    assert not torch.equal(drawn[0], again[0])
    if len(masks) == 2:  # drawn apart
        both = float((masks[0] & masks[1]).double().mean())
        assert both == pytest.approx(0.2 * 0.7, abs=0.02)


def test_zoneout_is_drawn_anew_at_each_step_and_for_each_row():
    """The cell keeps its first value in training only while a unit is kept in every step."""
    sizes = {"input_size": INPUTS, "hidden_size": 400, "num_layers": 2, "bidirectional": False}
    rates = {"dropout": 0.0, "weight_dropout": 0.3, "zoneout_hidden": 0.0, "zoneout_cell": 0.5}
    stack = build_stack("lstm", "scratch", **sizes, **rates).double()
    first = random_state(stack)
    _, last = stack(features()[:3], first)
    kept = first[0].cell == last[0].cell
    assert float(kept.double().mean()) == pytest.approx(0.5**3, abs=0.04)
    assert not torch.equal(kept[0], kept[1])
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(stack(features()[:3] * 0, first))
    torch.testing.assert_close(*found, **EQUAL)
    with pytest.raises(ValueError, match="zoneout needs the backend scratch"):
        build_stack("lstm", "torch", **sizes, **rates)


def test_zoneout_of_rows_of_different_lengths_is_that_of_each_row_alone():
    layer = Unrolled(ZoneoutCell(layer_of("lstm", "scratch").cell, hidden=0.3, cell_state=0.5))
    layer.eval()
    xs, state, lengths = features(), random_state(layer), torch.tensor([4, 1, STEPS])
    outputs, last = layer(xs, state, lengths)
    for row, length in enumerate(lengths):
        own = LSTMState(*(part[row : row + 1] for part in state))
        found, end = layer(xs[:length, row : row + 1], own)
        torch.testing.assert_close(outputs[:length, row : row + 1], found, **CLOSE)
        torch.testing.assert_close(last.cell[row : row + 1], end.cell, **CLOSE)


@pytest.mark.parametrize("shape", [(3, 5), (64, 1536)])
@pytest.mark.parametrize("probability", [0.1, 0.3, 0.5, 0.999])
def test_entries_are_dropped_as_torchs_dropout_does(shape, probability):
    """The scale, and the share of dropped entries."""
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
