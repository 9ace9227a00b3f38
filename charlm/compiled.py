"""Whether numba can compile functions to machine code here.

Modules with compiled functions import numba at their top. Their users ask `can_compile` first,
import such a module only then, and else take the same function in torch or numpy.
"""

from __future__ import annotations

from functools import cache


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
