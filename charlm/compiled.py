"""Functions that numba compiles to machine code, once on a machine.

Modules with compiled functions use numba at their top. Their users ask `can_compile` first, import
such a module only then, and else take the same function in torch or numpy. Modules whose functions
are also called by the compiled functions of another module are named ``*_numba``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

COMPILING = "compiling functions for this processor; this happens once and takes some seconds"


class Teller:
    """Tells the user once that numba compiles, before it does."""

    tell: Callable[[str], object] | None = None
    """Shows a line to the user; None: say nothing."""
    told = False

    def compiling(self) -> None:
        """A function is about to be compiled."""
        if self.tell is not None and not self.told:
            self.told = True
            self.tell(COMPILING)


teller = Teller()


@cache
def can_compile() -> bool:
    """Whether numba can be imported (in about 0.3 s), may compile, and can keep the results.

    ``NUMBA_DISABLE_JIT=1`` in the environment turns compiling off, as for every user of numba.
    """
    try:
        import numba

        numba.njit(cache=True)(lambda: None)
    except Exception:  # not installed, not for this Python or numpy, or no folder for its cache
        return False
    return not vars(numba.config)["DISABLE_JIT"]


def compiling(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: numba compiles the function on its first use, and keeps the result on the disk.

    The result is kept where numba keeps it: in the folder ``__pycache__`` beside the module, or in
    the user's cache folder, or in ``NUMBA_CACHE_DIR``. A compiled function contains those that it
    calls, so it is compiled anew if one of the modules ``*_numba`` has changed. A damaged file is
    replaced. Where the result cannot be kept, the function is compiled in each process.

    Args:
        options: those of ``numba.njit``, but for ``cache``.
    """
    from numba import njit

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        with suppress(RuntimeError):  # no folder for the cache
            dispatcher._cache = _cache_type()(function)
        return dispatcher

    return decorate


@cache
def _cache_type() -> type:
    """numba's cache of a function, which tells of compiling and survives damage and full disks."""
    from numba.core import caching

    base: Any = caching.FunctionCache  # numba has no types

    class KeptCache(base):  # type: ignore[misc]
        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__(function)
            self._cache_file._source_stamp = (self._cache_file._source_stamp, _sources())

        def load_overload(self, *arguments: Any) -> Any:
            found = None
            try:
                found = super().load_overload(*arguments)
            except Exception:  # a file was cut off by a power cut or a full disk
                with suppress(OSError):
                    self.flush()
            if found is None:
                teller.compiling()
            return found

        def save_overload(self, *arguments: Any) -> None:
            with suppress(OSError):  # a full disk
                super().save_overload(*arguments)

    return KeptCache


@cache
def _sources() -> str:
    """The hash of all modules with compiled functions, and of their twins with the constants."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*_numba.py")):
        for each in (path, path.with_name(path.name.replace("_numba", ""))):
            with suppress(OSError):
                digest.update(each.read_bytes())
    return digest.hexdigest()
