from __future__ import annotations

import pytest
import torch
from torch import nn

from charlm.recurrent.cells import CELLS
from charlm.recurrent.states import HiddenState, LSTMState, map_state
from charlm.recurrent.torch_layers import TorchLayer, copy_from_torch, copy_to_torch
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 5, 4
TORCH = [name for name, kind in CELLS.items() if kind.torch]

cells = pytest.mark.parametrize("name", TORCH)
both_ways = pytest.mark.parametrize(
    "copy",
    [copy_to_torch, lambda cell, network: copy_from_torch(network, cell)],
    ids=["to torch", "from torch"],
)


def pair(name: str, input_size: int = INPUTS, **network):
    sizes = {"input_size": input_size, "hidden_size": HIDDEN}
    kind = CELLS[name]
    return kind.scratch(**sizes).double(), kind.torch(**sizes, **network).double()


def random_state(layer):
    return map_state(torch.randn_like, layer.initial_state(BATCH))


@cells
def test_a_single_step_without_gradients_is_that_with_gradients(name):
    """Without gradients, an LSTM takes another way."""
    layer = TorchLayer(pair(name)[1])
    state = map_state(torch.Tensor.double, random_state(layer))
    xs = torch.randn(1, BATCH, INPUTS, dtype=torch.float64)
    outputs, last = layer(xs, state)
    with torch.no_grad():
        found, found_last = layer(xs, state)
    assert type(found_last) is type(last)
    torch.testing.assert_close((found, tuple(found_last)), (outputs, tuple(last)))


# The exchange of weights


@cells
def test_to_torch_and_back_is_the_same_cell(name):
    cell, network = pair(name)
    before = {key: tensor.clone() for key, tensor in cell.state_dict().items()}
    copy_to_torch(cell, network)
    for parameter in cell.parameters():
        nn.init.constant_(parameter, 7.0)
    copy_from_torch(network, cell)
    nn.init.zeros_(network.weight_hh_l0)  # the copy is another tensor
    for key, tensor in cell.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert all(each.is_leaf and each.requires_grad for each in cell.parameters())


@cells
@both_ways
def test_the_copy_computes_the_same(name, copy):
    cell, network = pair(name)
    copy(cell, network)
    ours, theirs = Unrolled(cell), TorchLayer(network)
    xs, state = torch.randn(STEPS, BATCH, INPUTS).double(), random_state(ours)
    torch.testing.assert_close(ours(xs, state), theirs(xs, state), rtol=0, atol=1e-12)


@both_ways
@pytest.mark.parametrize(
    ("name", "inputs", "network"),
    [
        ("rnn", 5, nn.RNN(5, 3)),
        ("rnn", 5, nn.RNN(6, 4)),
        ("rnn", 4, nn.GRU(4, 4)),
        ("gru", 4, nn.LSTM(4, 4)),
        ("lstm", 4, nn.GRU(4, 4)),
        ("lstm", 4, nn.RNN(4, 4)),
        ("lstm", 4, nn.LSTM(4, 4, bias=False)),
    ],
    ids=str,
)
def test_other_shapes_are_refused_and_nothing_is_changed(name, inputs, network, copy):
    cell = CELLS[name].scratch(input_size=inputs, hidden_size=HIDDEN)
    weights = [parameter.clone() for parameter in (*cell.parameters(), *network.parameters())]
    with pytest.raises(ValueError, match="weight"):
        copy(cell, network)
    after = (*cell.parameters(), *network.parameters())
    assert all(map(torch.equal, weights, after))


@both_ways
@pytest.mark.parametrize(
    ("name", "network"),
    [("gru-reset-before", nn.GRU), ("jordan", nn.RNN), ("lstm-peephole", nn.LSTM)],
)
def test_cells_that_torch_does_not_have_are_refused(name, network, copy):
    cell = CELLS[name].scratch(input_size=INPUTS, hidden_size=HIDDEN)
    with pytest.raises(ValueError, match="torch has no network that computes the same as this"):
        copy(cell, network(INPUTS, HIDDEN))
    with pytest.raises(ValueError, match="torch has no network that computes the same as this"):
        cell.from_torch({})


@cells
@pytest.mark.parametrize("part", ["l0_reverse", "l2", "l2_reverse"])
def test_one_part_of_a_larger_network(name, part):
    cell, network = pair(name, 2 * HIDDEN, num_layers=3, bidirectional=True)
    copied, _ = pair(name, 2 * HIDDEN)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    copy_to_torch(cell, network, part)
    for key, tensor in network.state_dict().items():
        touched = key.split("_", 2)[2] == part
        assert torch.equal(tensor, before[key]) != touched
    copy_from_torch(network, copied, part)
    assert all(map(torch.equal, cell.parameters(), copied.parameters()))
    with pytest.raises(ValueError, match="weight"):
        copy_to_torch(cell, network, "l7")


# The layer


@cells
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sizes_and_initial_state(name, dtype):
    layer = TorchLayer(pair(name)[1]).to(dtype)
    assert (layer.input_size, layer.output_size) == (INPUTS, HIDDEN)
    assert layer.recurrent_weights == ("network.weight_hh_l0",)
    state = layer.initial_state(BATCH)
    assert isinstance(state, LSTMState if name == "lstm" else HiddenState)
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(BATCH, HIDDEN, dtype=dtype))
    assert len({tensor.data_ptr() for tensor in state}) == len(state)


@pytest.mark.parametrize(
    "network",
    [nn.GRU(4, 4, num_layers=2), nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, bidirectional=True)],
    ids=["layers", "batch first", "bidirectional"],
)
def test_only_one_time_major_layer_in_one_direction(network):
    with pytest.raises(AssertionError):
        TorchLayer(network)
