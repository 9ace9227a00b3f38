from __future__ import annotations

import itertools
import math

import pytest
import torch

from charlm.recurrent import agreement as module
from charlm.recurrent.agreement import TOLERANCE, Agreement, agreement, compare
from charlm.recurrent.build import TORCH
from charlm.recurrent.core import RecurrentCell
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.stack import Stack

DTYPES = (torch.float32, torch.float64)

both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])


def test_tolerances():
    assert TOLERANCE == {"float32": 1e-5, "float64": 1e-10}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", TORCH)
@both_ways
def test_scratch_and_torch_agree(cell, dtype, seed, bidirectional):
    found = compare(cell, dtype, seed, bidirectional=bidirectional)
    tolerance = TOLERANCE[found.dtype]
    assert found.outputs <= tolerance
    assert found.states <= tolerance
    assert found.gradients <= tolerance
    assert found.agree


def test_all_cells_in_both_types_are_compared():
    found = agreement(seed=3)
    assert [(row.cell, row.dtype) for row in found] == [
        (cell + direction, dtype)
        for direction in ("", "-bidirectional")
        for cell in TORCH
        for dtype in TOLERANCE
    ]
    assert all(row.agree for row in found)
    assert agreement(seed=3) == found


def test_the_seed_decides_weights_and_inputs():
    outputs = {compare("lstm", torch.float32, seed).outputs for seed in range(5)}
    assert len(outputs) > 1


@both_ways
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("cell", "weight"),
    [
        *itertools.product(TORCH, ("weight_input", "weight_hidden", "bias")),
        ("gru", "bias_candidate"),
    ],
)
def test_a_wrong_weight_is_found(cell, weight, dtype, bidirectional, monkeypatch):
    exchange = module.copy_from_torch

    def copy_wrongly(network, scratch, part):
        exchange(network, scratch, part)
        with torch.no_grad():
            scratch.get_parameter(weight).view(-1)[-1] += 100 * TOLERANCE[str(dtype)[6:]]

    monkeypatch.setattr(module, "copy_from_torch", copy_wrongly)
    found = compare(cell, dtype, bidirectional=bidirectional)
    assert not found.agree
    assert max(found.outputs, found.states) > TOLERANCE[found.dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_wrong_gates_are_found(dtype, monkeypatch):
    step = LSTMCell.step

    def gates_in_another_order(cell, projected, state):
        i, f, g, o = projected.chunk(4, dim=1)
        return step(cell, torch.cat([f, i, g, o], dim=1), state)

    monkeypatch.setattr(LSTMCell, "step", gates_in_another_order)
    assert not compare("lstm", dtype).agree


def test_padding_that_is_read_is_found(monkeypatch):
    monkeypatch.setattr("charlm.recurrent.bidirectional.reverse", lambda xs, _: xs.flip(0))
    assert not compare("gru", torch.float64, bidirectional=True).agree


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", TORCH)
def test_a_gradient_that_is_a_little_wrong_is_found(cell, dtype, monkeypatch):
    class OnePartInAThousand(torch.autograd.Function):
        @staticmethod
        def forward(_, value):
            return value.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient * 1.001

    project = RecurrentCell.project

    def project_with_wrong_gradient(scratch, xs):
        return OnePartInAThousand.apply(project(scratch, xs))

    monkeypatch.setattr(RecurrentCell, "project", project_with_wrong_gradient)
    found = compare(cell, dtype)
    assert found.outputs <= TOLERANCE[found.dtype]
    assert found.gradients > TOLERANCE[found.dtype]
    assert not found.agree


def test_no_gradient_is_so_small_that_a_wrong_one_would_be_within_the_tolerance(monkeypatch):
    results, gradients = module._results, []

    def remember(*arguments):
        found = results(*arguments)
        gradients.extend(found[2])
        return found

    monkeypatch.setattr(module, "_results", remember)
    agreement()
    assert min(float(gradient.abs().max()) for gradient in gradients) > 1000 * 1e-5


@pytest.mark.parametrize("where", [1, 2, 3])
def test_what_is_not_a_number_never_agrees(where, monkeypatch):
    results = module._results

    def with_nan(network, *arguments):
        found = results(network, *arguments)
        if isinstance(network, Stack):
            with torch.no_grad():
                found[where - 1][-1].view(-1)[-1] = math.nan
        return found

    monkeypatch.setattr(module, "_results", with_nan)
    assert not compare("gru", torch.float64).agree


def test_one_difference_is_enough():
    same = {"cell": "gru", "dtype": "float64", "outputs": 0.0, "states": 0.0, "gradients": 0.0}
    assert Agreement(**same).agree
    for name in ("outputs", "states", "gradients"):
        assert Agreement(**{**same, name: 1e-10}).agree
        assert not Agreement(**{**same, name: 1.1e-10}).agree
