"""JSON that every reader accepts: infinity and NaN are written as null."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(content: Any, *, indent: int | None = None, ensure_ascii: bool = False) -> str:
    """``content`` as JSON."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
