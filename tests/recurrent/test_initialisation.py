from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from charlm.config.network import INITIALISATIONS as CONFIGURED
from charlm.recurrent.bidirectional import Bidirectional
from charlm.recurrent.build import build_layer
from charlm.recurrent.cell import recurrent_weights
from charlm.recurrent.cells import CELLS
from charlm.recurrent.initialisation import INITIALISATIONS, initialise
from charlm.recurrent.jordan import JordanCell
from charlm.recurrent.stack import WeightDropout

FORGET_GATE = {
    "lstm-layernorm": 1,
    "lstm": 1,
    "lstm-peephole": 1,
    "mogrifier": 1,
    "mlstm": 2,
    "minlstm": 0,
}

cells = pytest.mark.parametrize("name", CELLS)


def test_the_configuration_knows_the_initialisations():
    assert tuple(INITIALISATIONS) == CONFIGURED


@cells
def test_scratch_cells_draw_uniformly_as_torch_does(name):
    cell = CELLS[name].scratch(input_size=200, hidden_size=100)
    drawn = [parameter.clone() for parameter in cell.parameters()]
    initialise("torch", [cell])
    for parameter, before in zip(map(Tensor.detach, cell.parameters()), drawn, strict=True):
        assert torch.equal(parameter, before)
        assert 0.09 < parameter.abs().max() <= 0.1
        assert float(parameter.std()) == pytest.approx(0.1 / 3**0.5, rel=0.2)


@cells
def test_book_weights_are_normal_and_biases_zero(name):
    cell = CELLS[name].scratch(input_size=200, hidden_size=100).requires_grad_(False)
    initialise("book", [cell])
    assert float(cell.weight_input.std()) == pytest.approx(0.01, rel=0.05)
    for recurrent in recurrent_weights(cell):
        assert float(cell.get_parameter(recurrent).std()) == pytest.approx(0.01, rel=0.05)
    for parameter_name, parameter in cell.named_parameters():
        assert bool(parameter.any()) == ("bias" not in parameter_name)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "scratch") for name in CELLS),
        *((n, "torch") for n, kind in CELLS.items() if kind.torch),
    ],
)
def test_glorot_weights_are_orthogonal_or_within_the_bound(name, backend):
    inputs, hidden = 30, 20
    layer = build_layer(name, backend, input_size=inputs, hidden_size=hidden)
    for parameter in layer.requires_grad_(False).parameters():
        nn.init.constant_(parameter, 7.0)
    initialise("glorot", [layer])
    for recurrent_name in recurrent_weights(layer):
        recurrent = layer.get_parameter(recurrent_name)
        wide = recurrent if backend == "scratch" else recurrent.T  # (H, G * H)
        torch.testing.assert_close(wide @ wide.T, torch.eye(hidden), rtol=0, atol=1e-5)
    for parameter_name, parameter in layer.named_parameters():
        if parameter.dim() == 1:  # biases and peepholes
            wanted = torch.zeros_like(parameter)
            if name in FORGET_GATE and parameter_name.endswith((".bias", "bias_ih_l0")):
                start = FORGET_GATE[name] * hidden
                wanted[start : start + hidden] = 1
            assert torch.equal(parameter, wanted), parameter_name
        elif parameter_name not in recurrent_weights(layer):
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.95 * bound < float(parameter.abs().max()) <= bound
            assert float(parameter.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("table", [nn.Embedding, nn.EmbeddingBag])
def test_glorot_embeddings_are_within_a_twentieth(table):
    embedding = table(300, 20)
    initialise("glorot", [None, embedding])
    assert 0.0499 < float(embedding.weight.detach().abs().max()) <= 0.05


def test_glorot_finds_the_recurrent_weights_inside_other_layers():
    ours, theirs = (
        build_layer("lstm", backend, input_size=5, hidden_size=4)
        for backend in ("scratch", "torch")
    )
    initialise("glorot", [WeightDropout(Bidirectional(ours, theirs), 0.5)])
    forget = torch.tensor([0.0] * 4 + [1.0] * 4 + [0.0] * 8)
    assert torch.equal(ours.cell.bias, forget)
    assert torch.equal(theirs.network.bias_ih_l0, forget)
    assert not theirs.network.bias_hh_l0.any()
    weight = theirs.network.weight_hh_l0.detach()
    torch.testing.assert_close(weight.T @ weight, torch.eye(4), rtol=0, atol=1e-5)


def test_a_jordan_network_has_no_forget_gate():
    # It has as many biases as an LSTM of two units.
    cell = JordanCell(3, 8, output_size=2, activation="tanh")
    initialise("glorot", [cell])
    assert not cell.bias.any()
