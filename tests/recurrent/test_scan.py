"""The parallel scan of the minimal cells against their steps."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from charlm.recurrent.cells import CELLS
from charlm.recurrent.scan import parallel
from charlm.recurrent.states import HiddenState, map_state
from charlm.recurrent.unroll import Unrolled

BATCH, INPUTS, HIDDEN = 3, 5, 4


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
@pytest.mark.parametrize("steps", [2, 3, 8, 13])
@pytest.mark.parametrize("padded", [False, True])
def test_the_scan_is_one_step_at_a_time(cell, steps, padded, results, monkeypatch):
    """Outputs, last state and all gradients, from a state that is not zero."""
    layer = Unrolled(CELLS[cell].scratch(input_size=INPUTS, hidden_size=HIDDEN)).double()
    xs = torch.randn(steps, BATCH, INPUTS).double()
    first = map_state(torch.randn_like, layer.initial_state(BATCH))
    run = partial(layer, lengths=torch.tensor([1, steps, 2]) if padded else None)
    found = []
    for whole in (layer.cell.parallel(), None):
        monkeypatch.setattr(layer.cell, "kernel", lambda whole=whole: whole)
        found.append(results(run, layer, xs, first))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_a_thousand_steps_with_gates_at_their_ends():
    keep = torch.sigmoid(200 * torch.randn(1000, BATCH, HIDDEN, dtype=torch.float64))
    candidate, state = torch.randn_like(keep), torch.randn_like(keep[0])
    found = parallel(keep, candidate, state)
    for k, n, states in zip(keep, candidate, found, strict=True):
        state = k * state + (1 - k) * n
        torch.testing.assert_close(states, state, rtol=0, atol=1e-12)


def test_processors_other_than_the_cpu_take_the_scan():
    with torch.device("meta"):
        layer = Unrolled(CELLS["mingru"].scratch(input_size=INPUTS, hidden_size=HIDDEN))
        projected = torch.empty(6, 2 * HIDDEN)
        assert layer._kernel(projected, [3, 3]) == layer.cell.parallel()
        outputs, last = layer(torch.empty(2, 3, INPUTS), layer.initial_state(3))
    assert (outputs.shape, type(last)) == ((2, 3, HIDDEN), HiddenState)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_gates_at_their_ends_in_single_precision(cell, results, monkeypatch):
    """The compiled kernel against the steps, with gates that are 0 or 1 in float32."""
    layer = Unrolled(CELLS[cell].scratch(input_size=INPUTS, hidden_size=HIDDEN))
    with torch.no_grad():
        layer.cell.weight_input[:, :-HIDDEN] *= 300
    xs, first = torch.randn(20, BATCH, INPUTS), HiddenState(torch.randn(BATCH, HIDDEN))
    found = [results(layer, layer, xs, first)]
    monkeypatch.setattr(layer.cell, "kernel", lambda: None)
    found.append(results(layer, layer, xs, first))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
