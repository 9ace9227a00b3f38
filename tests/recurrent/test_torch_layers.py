from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from charlm.recurrent.build import SCRATCH, TORCH
from charlm.recurrent.core import HiddenState, LSTMState, map_state
from charlm.recurrent.torch_layers import TorchLayer, copy_from_torch, copy_to_torch
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 4
CLOSE = {"rtol": 0, "atol": 1e-12}

cells = pytest.mark.parametrize("name", TORCH)
both_ways = pytest.mark.parametrize(
    "copy",
    [copy_to_torch, lambda cell, network: copy_from_torch(network, cell)],
    ids=["to torch", "from torch"],
)


def pair(name: str):
    return SCRATCH[name](INPUTS, HIDDEN).double(), TORCH[name](INPUTS, HIDDEN).double()


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


@cells
def test_there_and_back_is_the_same_cell(name):
    cell, network = pair(name)
    before = {key: tensor.clone() for key, tensor in cell.state_dict().items()}
    copy_to_torch(cell, network)
    for parameter in cell.parameters():
        nn.init.constant_(parameter, 7.0)
    copy_from_torch(network, cell)
    for key, tensor in cell.state_dict().items():
        assert torch.equal(tensor, before[key])


@cells
@both_ways
def test_the_copy_does_the_same(name, copy):
    cell, network = pair(name)
    copy(cell, network)
    ours, theirs = Unrolled(cell), TorchLayer(network)
    xs, state = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(ours)
    torch.testing.assert_close(ours(xs, state), theirs(xs, state), **CLOSE)


@cells
def test_copying_shares_no_memory_and_needs_no_gradient(name):
    cell, network = pair(name)
    copy_to_torch(cell, network)
    before = cell.weight_hidden.clone()
    nn.init.zeros_(network.weight_hh_l0)
    assert torch.equal(cell.weight_hidden, before)
    for parameter in (*cell.parameters(), *network.parameters()):
        assert parameter.is_leaf
        assert parameter.requires_grad


@both_ways
@pytest.mark.parametrize(
    ("cell", "network"),
    [
        (SCRATCH["rnn"](5, 4), nn.RNN(5, 3)),
        (SCRATCH["rnn"](5, 4), nn.RNN(6, 4)),
        (SCRATCH["rnn"](4, 4), nn.GRU(4, 4)),
        (SCRATCH["gru"](4, 4), nn.LSTM(4, 4)),
        (SCRATCH["lstm"](4, 4), nn.GRU(4, 4)),
        (SCRATCH["lstm"](4, 4), nn.RNN(4, 4)),
    ],
    ids=["hidden size", "input size", "rnn, GRU", "gru, LSTM", "lstm, GRU", "lstm, RNN"],
)
def test_other_shapes_are_refused_and_nothing_is_changed(cell, network, copy):
    weights = [parameter.clone() for parameter in (*cell.parameters(), *network.parameters())]
    with pytest.raises(ValueError, match=r"the cell has \(\d+, \d+\), torch \(\d+, \d+\)"):
        copy(cell, network)
    after = (*cell.parameters(), *network.parameters())
    assert all(torch.equal(old, new) for old, new in zip(weights, after, strict=True))


@both_ways
def test_the_reset_before_the_product_is_refused(copy):
    cell, network = SCRATCH["gru-reset-before"](INPUTS, HIDDEN), nn.GRU(INPUTS, HIDDEN)
    with pytest.raises(ValueError, match="resets after the product"):
        copy(cell, network)


@both_ways
@pytest.mark.parametrize(
    ("name", "network"), [("jordan", nn.RNN), ("lstm-peephole", nn.LSTM)], ids=str
)
def test_cells_that_torch_does_not_have_are_refused(name, network, copy):
    with pytest.raises(ValueError, match="torch has no Jordan network and no LSTM with peepholes"):
        copy(SCRATCH[name](INPUTS, HIDDEN), network(INPUTS, HIDDEN))


@cells
@pytest.mark.parametrize("part", ["l0_reverse", "l2", "l2_reverse"])
def test_one_part_of_a_larger_network(name, part):
    options = {"num_layers": 3, "bidirectional": True}
    network = TORCH[name](2 * HIDDEN, HIDDEN, **options)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    cell, copied = SCRATCH[name](2 * HIDDEN, HIDDEN), SCRATCH[name](2 * HIDDEN, HIDDEN)
    copy_to_torch(cell, network, part)
    for key, tensor in network.state_dict().items():
        touched = key.split("_", 2)[2] == part
        assert torch.equal(tensor, before[key]) != touched
    copy_from_torch(network, copied, part)
    assert all(map(torch.equal, cell.parameters(), copied.parameters()))


@cells
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_initial_state(name, dtype):
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN)).to(dtype)
    state = layer.initial_state(BATCH)
    assert isinstance(state, LSTMState if name == "lstm" else HiddenState)
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(BATCH, HIDDEN, dtype=dtype))
    assert len({tensor.data_ptr() for tensor in state}) == len(state)


@cells
def test_the_layer_is_the_network(name):
    network = TORCH[name](INPUTS, HIDDEN)
    layer, xs = TorchLayer(network), torch.randn(STEPS, BATCH, INPUTS)
    state = random_state(layer)
    outputs, last = layer(xs, state)
    given = tuple(tensor.unsqueeze(0) for tensor in state)
    wanted, after = network(xs, given if name == "lstm" else given[0])
    assert torch.equal(outputs, wanted)
    after = after if name == "lstm" else (after,)
    assert all(torch.equal(ours[None], theirs) for ours, theirs in zip(last, after, strict=True))


@cells
def test_ids_are_one_hot_features(name):
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN)).double()
    ids, state = torch.randint(INPUTS, (STEPS, BATCH)), random_state(layer)
    from_features = layer(F.one_hot(ids, INPUTS).double(), state)
    torch.testing.assert_close(layer(ids, state), from_features, **CLOSE)


@cells
def test_a_split_sequence_is_the_whole(name):
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN)).double()
    xs, state = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(layer)
    outputs, last = layer(xs, state)
    left, state = layer(xs[:1], state)
    right, state = layer(xs[1:], state)
    torch.testing.assert_close((torch.cat([left, right]), state), (outputs, last), **CLOSE)


@pytest.mark.parametrize(
    "network",
    [nn.GRU(4, 4, num_layers=2), nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, bidirectional=True)],
    ids=["layers", "batch first", "bidirectional"],
)
def test_only_one_layer_in_one_direction_time_major(network):
    with pytest.raises(AssertionError):
        TorchLayer(network)


@cells
def test_sizes_and_the_name_of_the_recurrent_weight(name):
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN))
    assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
    assert layer.get_parameter(layer.recurrent_weight) is layer.network.weight_hh_l0


@cells
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "features"])
def test_the_fast_path_through_padding_is_the_packed_one(name, ids):
    """Outputs and all gradients, whatever stands in the padding."""
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN)).double()
    lengths = torch.tensor([4, 1, STEPS])
    xs = torch.randn(STEPS, BATCH, INPUTS).double().requires_grad_()
    given = torch.randint(INPUTS, (STEPS, BATCH)) if ids else xs
    state = map_state(lambda tensor: tensor.requires_grad_(), random_state(layer))
    leaves = [*state, *layer.parameters(), *(() if ids else (xs,))]
    weights, found = torch.randn(STEPS, BATCH, HIDDEN).double(), []
    for final_state in (True, False):
        outputs, _ = layer(given, state, lengths, final_state=final_state)
        gradients = torch.autograd.grad((outputs * weights).sum(), leaves)
        found.append((outputs, gradients))
        assert not outputs[1:, 1].any()
        if not ids:
            assert not gradients[-1][4:, 0].any()
    torch.testing.assert_close(*found, **CLOSE)
    with pytest.raises(ValueError, match="1 to 6 are possible"):
        layer(given, state, lengths + 1, final_state=False)


@cells
def test_padding_never_spoils_a_gradient(name):
    """However much longer it is than the rows, and however the state grows on it."""
    layer = TorchLayer(TORCH[name](INPUTS, HIDDEN))
    with torch.no_grad():
        layer.network.weight_hh_l0.copy_(2 * torch.eye(HIDDEN).repeat(
            len(layer.network.weight_hh_l0) // HIDDEN, 1))  # fmt: skip
    xs = torch.randn(300, BATCH, INPUTS)
    outputs, _ = layer(xs, layer.initial_state(BATCH), torch.tensor([2, 3, 2]), final_state=False)
    outputs.sum().backward()
    assert outputs.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
