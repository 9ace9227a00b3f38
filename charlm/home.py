"""Paths that begin with ``~``, the user's home folder, on all systems.

A shell expands it only at the start of a word, not in ``--run=~/novel``, and some shells never do.
"""

from __future__ import annotations

import os.path
import re
from typing import Any

_PATH = re.compile("FILE|FOLDER|PATH|RUN")


def is_path(metavar: str | None) -> bool:
    """Whether an option or a setting with this metavar takes a path."""
    return _PATH.search(metavar or "") is not None


def with_home(value: Any) -> Any:
    """A path, or several, with the home folder in place of ``~``; other values as they are.

    >>> with_home("~/novel")
    '/home/ada/novel'
    """
    if isinstance(value, list | tuple):
        return type(value)(map(with_home, value))
    if isinstance(value, str) and value[:1] == "~" and value[1:2] in ("", os.sep, os.altsep):
        return os.path.expanduser(value)
    return value
