"""The hint for a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def name_hint(name: str, known: Iterable[str]) -> str:
    """One line: the known name nearest to ``name``, where one is near, and all known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    question = f"did you mean {close[0]}? " if close else ""
    return f"{question}known names: {', '.join(known)}"
