"""Seeds of random numbers: their range, and new ones."""

from __future__ import annotations

import re
import secrets

from charlm.errors import UsageError, shown

LARGEST_SEED = 2**63 - 1
MOST_SEEDS = 1000  # of one command


def seed_or_new(seed: int | None) -> int:
    """The seed, or for None a new one below 2**32, which is short to type again.

    Raises:
        UsageError: it is out of range.
    """
    if seed is None:
        return secrets.randbelow(2**32)
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"the seed is {shown(seed)}; it must be from 0 to 2**63 - 1")
    return seed


def parse_seeds(text: str) -> list[int]:
    """The seeds of ``0-4`` or ``0,3,7``, or of both together; each counts once.

    Raises:
        UsageError: it is something else, or there are more than `MOST_SEEDS`.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,19})(?:-([0-9]{1,19}))?\s*", part)
        first, last = (int(each or match[1]) for each in match.groups()) if match else (1, 0)
        if not first <= last <= LARGEST_SEED:
            hint = "give the first and the last, such as 0-4, or all of them: 0,3,7"
            raise UsageError(
                f"--seeds {shown(text)}: {shown(part)} is neither a seed nor a range", hint
            )
        if len(found) + last - first >= MOST_SEEDS:
            raise UsageError(f"--seeds {shown(text)}: more than {MOST_SEEDS:,}", "give fewer")
        found |= dict.fromkeys(range(first, last + 1))
    return [*found]
