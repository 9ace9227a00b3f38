"""Whether numba can compile functions to machine code here.

Modules with compiled functions import numba at their top. Their users ask `can_compile` first,
import such a module only then, and else take the same function in torch or numpy.
"""

from __future__ import annotations

from functools import cache


@cache
def can_compile() -> bool:
    """Whether numba can be imported, which takes about 0.3 s, and may compile.

    ``NUMBA_DISABLE_JIT=1`` in the environment turns compiling off, as for every user of numba.
    """
    try:
        import numba
    except Exception:  # not installed, or not for this Python or numpy
        return False
    return not vars(numba.config)["DISABLE_JIT"]
