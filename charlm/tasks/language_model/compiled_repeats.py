"""The windows of a text that are repeated, compiled by numba; `repeats` has the numpy form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.compiled import compiling

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd
_MIX = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64
_ONE = np.uint64(1)


def repeated_windows(
    train: NDArray[Any], text: NDArray[Any], window: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """As `charlm.tasks.language_model.repeats.repeated_windows`, in one pass over each text.

    The hash of a window is a polynomial of random numbers for its characters (Karp and Rabin 1987,
    "Efficient randomized pattern-matching algorithms").
    """
    highest = max(int(text.max()), int(train.max(initial=0)))
    codes = np.random.default_rng(0).integers(2**64, size=highest + 1, dtype=np.uint64)
    starts = len(text) - window + 1
    bits = int(starts - 1).bit_length() + 1  # at most half of the slots are taken
    keys = np.zeros(1 << bits, np.uint64)  # 0: the slot is free
    firsts = np.empty(1 << bits, np.int32)  # the first window with that key
    sieve = np.zeros(1 << max(bits, 3), np.uint8)  # 8 bits for each slot
    earlier, seen = np.zeros(starts, np.bool_), np.zeros(starts, np.bool_)
    first = np.empty(starts, np.int32)  # the first window that is equal to each
    _insert(text, window, codes, keys, firsts, sieve, first, earlier)
    _look_up(train, window, codes, keys, firsts, sieve, seen)
    return seen[first], earlier


@compiling(nogil=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    value ^= value >> np.uint64(32)
    value *= _MIX
    value ^= value >> np.uint64(29)
    return value | _ONE


@compiling(nogil=True)
def _power(window):  # type: ignore[no-untyped-def]
    power = _ONE
    for _ in range(window):
        power *= _BASE
    return power


@compiling(nogil=True)
def _insert(text, window, codes, keys, firsts, sieve, first, earlier):  # type: ignore[no-untyped-def]
    mask, mask_of_bits = np.uint64(len(keys) - 1), np.uint64(8 * len(sieve) - 1)
    power, value = _power(window), np.uint64(0)
    for end in range(len(text)):
        value = value * _BASE + codes[text[end]]
        if end >= window:
            value -= power * codes[text[end - window]]
        start = end - window + 1
        if start < 0:
            continue
        key = _mixed(value)
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + _ONE) & mask
        if keys[slot] == 0:
            keys[slot] = key
            firsts[slot] = start
            bit = (key >> np.uint64(32)) & mask_of_bits
            sieve[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        first[start] = firsts[slot]
        earlier[start] = first[start] + window <= start


@compiling(nogil=True)
def _look_up(train, window, codes, keys, firsts, sieve, seen):  # type: ignore[no-untyped-def]
    mask, mask_of_bits = np.uint64(len(keys) - 1), np.uint64(8 * len(sieve) - 1)
    leaving, value = _power(window) * codes, np.uint64(0)
    for end in range(len(train)):
        value = value * _BASE + codes[train[end]]
        if end < window - 1:
            continue
        if end >= window:
            value -= leaving[train[end - window]]
        key = _mixed(value)
        bit = (key >> np.uint64(32)) & mask_of_bits
        if (sieve[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1) == 0:
            continue
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + _ONE) & mask
        if keys[slot] == key:
            seen[firsts[slot]] = True
