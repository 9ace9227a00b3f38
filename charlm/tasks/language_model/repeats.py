"""The share of a text that also occurs, word for word, in another one.

Letters in the shape comments: N characters of a text, C of a chunk, M windows of the held-out text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WINDOWS = (32, 128)  # characters; powers of 2
CHUNK = 2**16  # characters that are hashed at once; they fit into a processor's cache
HIGH = 0.1  # a larger share of repeated text is mentioned

Hashes = npt.NDArray[np.uint64]
_FACTORS = tuple(map(np.uint64, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))  # of splitmix64
_MAX_SIEVE = 2**26  # bytes


class Repeated(NamedTuple):
    """The shares of a held-out text, 0 to 1, that are repeated word for word."""

    training: float  # occurs in the training text
    itself: float  # occurs earlier in the held-out text, without overlap


def repeats(train: str, text: str, windows: Sequence[int] = WINDOWS) -> dict[str, Repeated | None]:
    """For each window, the shares of ``text`` in repeated passages of at least that length.

    A character of ``text`` counts if it lies in a window that is repeated. The value is None if
    ``text`` is shorter than the window.

    Windows are compared by 64-bit hashes. Two different windows among a billion have the same hash
    with a probability of about 3%, which changes the share by a billionth. Time is linear in the
    lengths, except for a sort of the hashes of ``text``. Memory is about 40 bytes for each
    character of ``text``, and does not depend on the length of ``train``.

    Args:
        train: the training text.
        text: the held-out text.
        windows: lengths in characters, powers of 2.

    Returns:
        The shares by window, written as text because JSON has no other keys.
    """
    return {str(window): _repeated(train, text, window) for window in windows}


def _repeated(train: str, text: str, window: int) -> Repeated | None:
    starts = len(text) - window + 1  # M
    if starts < 1:
        return None
    wanted, firsts, ranks = np.unique(  # U distinct windows; (M,) ranks
        np.concatenate([*window_hashes(text, window)]), return_index=True, return_inverse=True
    )
    # Most windows of the training text are not wanted: two tables, of the low and of the high bits,
    # sort them out.
    size = min(_MAX_SIEVE, 8 << (len(wanted) - 1).bit_length())
    sieves = [(np.uint64(shift), np.zeros(size, bool)) for shift in (0, 32)]
    for shift, sieve in sieves:
        sieve[(wanted >> shift) & np.uint64(size - 1)] = True
    found = np.zeros(len(wanted), bool)
    for hashes in window_hashes(train, window):
        for shift, sieve in sieves:
            hashes = hashes[sieve[(hashes >> shift) & np.uint64(size - 1)]]
        places = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        found[places[wanted[places] == hashes]] = True
    earlier = firsts[ranks] + window <= np.arange(starts)
    return Repeated(*(float(covered(each, window).mean()) for each in (found[ranks], earlier)))


def covered(windows: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.bool_]:
    """(M + size - 1,): which characters lie in one of the marked windows, of an (M,) mask."""
    edges = np.zeros(len(windows) + size, np.int64)  # a window at i covers i to i + size - 1
    edges[: len(windows)] += windows
    edges[size:] -= windows
    return np.asarray(edges.cumsum()[:-1] > 0)


def window_hashes(text: str, window: int) -> Iterator[Hashes]:
    """The hashes of all windows of a text, a chunk at a time, (C,) each; ``window`` as above.

    The hash of 2 n characters is made from those of its halves, so a window of n characters takes
    log2(n) passes. Multiplication and shift alternate, because a product alone never carries a bit
    to a lower place.
    """
    for start in range(0, len(text) - window + 1, CHUNK):
        part = text[start : start + CHUNK + window - 1]
        raw = part.encode("utf-32-le", "surrogatepass")
        hashes = (np.frombuffer(raw, "<u4").astype(np.uint64) + _FACTORS[0]) * _FACTORS[1]
        length = 1
        while length < window:
            halves, hashes = hashes, hashes[:-length] * _FACTORS[0]
            hashes += halves[length:]
            hashes *= _FACTORS[1]
            hashes ^= hashes >> np.uint64(32)
            length *= 2
        yield hashes


def as_json(repeated: Mapping[str, Repeated | None] | None) -> dict[str, Any] | None:
    """The shares for JSON."""
    if repeated is None:
        return None
    return {window: shares and shares._asdict() for window, shares in repeated.items()}


def repeats_words(repeated: Mapping[str, Repeated | None], name: str) -> str | None:
    """The shares in a sentence; None if the text, of that ``name``, is too short for a window."""
    known = {window: shares for window, shares in repeated.items() if shares is not None}
    if not known:
        return None
    training, itself = (
        " / ".join(f"{shares[kind]:.1%}" for shares in known.values()) for kind in (0, 1)
    )
    words = (
        f"repeats in the {name}, as passages of {' / '.join(known)} characters or more: {training} "
        f"stand in the training text, {itself} earlier in the {name} itself"
    )
    most = next(iter(known.values()))
    if most.training > HIGH:
        words += ". So much is known from training that the scores are better than for new text"
    if most.itself > HIGH:
        words += ". xz learns while it reads, so it scores repeats better than the others"
    return words
