"""Seeds of random numbers: their range, and new ones."""

from __future__ import annotations

import secrets

from charlm.errors import UsageError, shown

LARGEST_SEED = 2**63 - 1


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
