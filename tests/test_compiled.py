"""Whether numba can compile."""

import sys

import pytest

from charlm.compiled import can_compile


@pytest.fixture(autouse=True)
def _asked_anew():
    can_compile.cache_clear()
    yield
    can_compile.cache_clear()


def test_numba_compiles_unless_it_is_told_not_to(monkeypatch):
    import numba

    assert can_compile()
    can_compile.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert not can_compile()


def test_without_numba_nothing_is_compiled(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    assert not can_compile()


def test_without_a_folder_for_the_cache_nothing_is_compiled(monkeypatch):
    def no_folder(**options):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr("numba.njit", no_folder)
    assert not can_compile()
