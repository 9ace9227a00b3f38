"""The faster backend of a cell."""

import pytest

from charlm.recurrent.cells import CELLS
from charlm.recurrent.choice import fastest_backend


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_gets_a_backend_that_has_it(cell, device):
    chosen = fastest_backend(cell, device=device)
    if CELLS[cell].torch is None:
        assert chosen == "scratch"
    elif device != "cpu":
        assert chosen == "torch"


def test_without_compiled_kernels_torch_is_faster(monkeypatch):
    assert fastest_backend("gru", device="cpu") == "scratch"
    monkeypatch.setattr("charlm.recurrent.choice.can_compile", lambda: False)
    assert fastest_backend("gru", device="cpu") == "torch"
