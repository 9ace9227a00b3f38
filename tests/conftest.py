"""What all tests share: determinism, the real corpora, the book's package, and CUDA."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
import torch

# Taken before any test changes the environment or the working folder.
_CORPORA = os.environ.get("CHARLM_CORPORA")
_CORPORA_FOLDER = Path(_CORPORA).resolve() if _CORPORA else None

hypothesis.settings.register_profile("charlm", derandomize=True, deadline=None)
hypothesis.settings.load_profile("charlm")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # sums in another order are other numbers
    # Commands in processes of their own too: tests run side by side, and threads that wait for
    # each other on busy cores are many times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes minutes comes first, so that at the end no core waits for another.
    items.sort(key=lambda item: item.path.name != "test_published.py")
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device: torch.cuda.is_available() is False")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Each test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the real corpora, for tests that mean nothing without them."""
    if _CORPORA_FOLDER is None:
        pytest.skip("needs the real corpora: $CHARLM_CORPORA is not set")
    if not _CORPORA_FOLDER.is_dir():
        pytest.skip(f"needs the real corpora: $CHARLM_CORPORA, {_CORPORA_FOLDER}, is no folder")
    return _CORPORA_FOLDER


@pytest.fixture(scope="session")
def real_corpus(corpora: Path) -> Callable[[str], Path]:
    """Gives the path of a file among the real corpora, or skips the test."""

    def find(name: str) -> Path:
        path = corpora / name
        if not path.is_file():
            pytest.skip(f"needs {name} in $CHARLM_CORPORA, {corpora}")
        return path

    return find


@pytest.fixture(scope="session")
def d2l() -> ModuleType:
    """``d2l.torch``, the book's package, without the torchvision that no test here needs."""
    with pytest.MonkeyPatch.context() as patch:
        vision, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
        vision.transforms = transforms  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "torchvision", vision)
        patch.setitem(sys.modules, "torchvision.transforms", transforms)
        patch.setenv("MPLBACKEND", "Agg")
        return pytest.importorskip(
            "d2l.torch",
            reason="needs d2l 0.17.0 and what it imports: pip install -e '.[dev]'",
            exc_type=ImportError,
        )
