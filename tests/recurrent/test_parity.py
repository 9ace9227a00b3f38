from __future__ import annotations

import itertools
import math

import pytest
import torch

from charlm.recurrent import parity as module
from charlm.recurrent.cell import GatedCell
from charlm.recurrent.cells import CELLS
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.parity import TOLERANCE, Parity, compare, compare_all

TORCH = [name for name, kind in CELLS.items() if kind.torch]

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])


def test_all_cells_are_compared_in_both_types_and_the_seed_decides():
    found = compare_all(3)
    assert [(row.cell, row.dtype) for row in found] == [
        (cell + direction, dtype)
        for direction in ("", "-bidirectional")
        for cell in TORCH
        for dtype in ("float32", "float64")
    ]
    other = compare_all(4)
    assert all(row.agree for row in (*found, *other))
    assert compare_all(3) == found != other


@both_ways
@dtypes
@pytest.mark.parametrize(
    ("cell", "weight"),
    [
        *itertools.product(TORCH, ("weight_input", "weight_hidden", "bias")),
        ("gru", "bias_candidate"),
    ],
)
def test_a_wrong_weight_is_found(cell, weight, dtype, bidirectional, monkeypatch):
    kind = type(CELLS[cell].scratch(input_size=1, hidden_size=1))
    from_torch = kind.from_torch

    def with_a_wrong_entry(scratch, weights):
        own = from_torch(scratch, weights)
        own[weight] = own[weight].clone()
        own[weight][(-1,) * own[weight].dim()] += 100 * TOLERANCE[str(dtype)[6:]]
        return own

    monkeypatch.setattr(kind, "from_torch", with_a_wrong_entry)
    found = compare(cell, dtype, 0, bidirectional=bidirectional)
    assert not found.agree
    assert max(found.outputs, found.states) > TOLERANCE[found.dtype]


@dtypes
def test_gates_in_the_wrong_order_are_found(dtype, monkeypatch):
    project = LSTMCell.project

    def gates_in_another_order(cell, xs):
        i, f, g, o = project(cell, xs).chunk(4, dim=-1)
        return torch.cat([f, i, g, o], dim=-1)

    monkeypatch.setattr(LSTMCell, "project", gates_in_another_order)
    assert not compare("lstm", dtype, 0, bidirectional=False).agree


def test_reading_the_padding_is_found(monkeypatch):
    monkeypatch.setattr("charlm.recurrent.bidirectional.reverse", lambda xs, _: xs.flip(0))
    assert not compare("gru", torch.float64, 0, bidirectional=True).agree


@dtypes
@pytest.mark.parametrize("cell", TORCH)
def test_a_gradient_that_is_wrong_by_a_thousandth_is_found(cell, dtype, monkeypatch):
    class OnePartInAThousand(torch.autograd.Function):
        @staticmethod
        def forward(_, value):
            return value.clone()

        @staticmethod
        def backward(_, gradient):
            return gradient * 1.001

    project = GatedCell.project

    def project_with_wrong_gradient(scratch, xs):
        return OnePartInAThousand.apply(project(scratch, xs))

    monkeypatch.setattr(GatedCell, "project", project_with_wrong_gradient)
    found = compare(cell, dtype, 0, bidirectional=False)
    assert found.outputs <= TOLERANCE[found.dtype]
    assert found.gradients > TOLERANCE[found.dtype]
    assert not found.agree


def test_all_gradients_are_large_against_the_tolerance(monkeypatch):
    difference, gradients = module._difference, []
    monkeypatch.setattr(
        module, "_difference", lambda *pair: gradients.append(pair[1].detach()) or difference(*pair)
    )
    compare_all(0)
    assert min(float(gradient.abs().max()) for gradient in gradients) > 1000 * 1e-5


@pytest.mark.parametrize("where", [0, 1, 2])
def test_nan_never_agrees(where, monkeypatch):
    results, runs = module._results, []

    def with_nan(*arguments):
        found = results(*arguments)
        if not runs:  # the scratch stack comes first
            with torch.no_grad():
                found[where][-1].flatten()[-1:].fill_(math.nan)
        runs.append(found)
        return found

    monkeypatch.setattr(module, "_results", with_nan)
    assert not compare("gru", torch.float64, 0, bidirectional=False).agree


def test_one_large_difference_is_enough():
    for dtype, tolerance in {"float32": 1e-5, "float64": 1e-10}.items():
        for place in range(3):
            differences = [0.0] * 3
            differences[place] = tolerance
            assert Parity("gru", dtype, *differences).agree
            differences[place] = 1.1 * tolerance
            assert not Parity("gru", dtype, *differences).agree
