"""Functions that numba compiles: whether it can, and what is kept on the disk."""

import errno
import os
import sys

import pytest

from charlm import compiled
from charlm.compiled import COMPILING, can_compile, compiling, teller


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


# What is kept


def twice(x):
    return x + x


@pytest.fixture
def use(monkeypatch, tmp_path):
    """Compiles and calls a function as a new process does; returns the lines that are shown."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def compile_and_call():
        lines = []
        monkeypatch.setattr(teller, "tell", lines.append)
        monkeypatch.setattr(teller, "told", False)
        functions = [compiling(nogil=True)(twice) for _ in range(2)]
        assert [function(1) for function in functions] == [2, 2]
        return lines

    return compile_and_call


def test_compiling_is_told_once(use):
    assert use() == [COMPILING]
    assert use() == []


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_damaged_files_are_replaced(use, tmp_path, suffix, content):
    use()
    (file,) = tmp_path.rglob(f"*{suffix}")
    file.write_bytes(content)
    assert use() == [COMPILING]
    assert use() == []


def test_another_module_with_compiled_functions_has_changed(use, monkeypatch):
    before = compiled._sources()
    use()
    monkeypatch.setattr(compiled, "_sources", lambda: "others")
    assert use() == [COMPILING]
    monkeypatch.setattr(compiled, "_sources", lambda: before)
    assert use() == [COMPILING]


def test_a_full_disk(use, monkeypatch):

    def fail(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        assert use() == [COMPILING]
        assert use() == [COMPILING]
    assert use() == [COMPILING]
    assert use() == []


def test_a_function_works_without_a_folder_for_its_result(use, monkeypatch):
    def no_folder(*arguments):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr("numba.core.caching.FunctionCache.__init__", no_folder)
    assert use() == []
