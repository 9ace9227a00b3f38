"""The share of a text that also occurs, word for word, in another one.

Letters in the shape comments: N characters of a text, C of a chunk, M windows of the held-out text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charlm.compiled import can_compile

WINDOWS = (32, 128)  # characters; powers of 2
MOST_TRAIN = 100_000_000  # characters of a training text that are read,
MOST_TEXT = 1_000_000  # and of a held-out text: two to three seconds
CHUNK = 2**16  # characters that are hashed at once; they fit into a processor's cache
COMPILE = 20_000_000  # more training characters than that pay for numba, which takes 130 MB
HIGH = 0.1  # a larger share of repeated text is mentioned
SHOWN = 0.0005  # the smallest share that is not 0.0%

Ids = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
_FACTORS = tuple(map(np.uint64, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)))  # of splitmix64
_MAX_SIEVE = 2**26  # bytes


class Repeated(NamedTuple):
    """The shares of a held-out text, 0 to 1, that are repeated word for word."""

    training: float  # occurs in the training text
    itself: float  # occurs earlier in the held-out text, without overlap


class Repeats(NamedTuple):
    """What is repeated of a held-out text, and how much was compared."""

    shares: dict[str, Repeated | None]  # by window, as text because JSON has no other keys
    characters: tuple[int, int]  # of the held-out text: the first that were read, and all
    train_characters: tuple[int, int]  # of the training text: the last that were read, and all

    def most(self) -> Repeated:
        """The shares of the shortest window; zeros if the text is shorter."""
        return next(iter(self.shares.values())) or Repeated(0.0, 0.0)

    def as_json(self) -> dict[str, Any]:
        """The shares, and the characters that were read, for JSON."""
        return {
            "repeated": {window: each and each._asdict() for window, each in self.shares.items()},
            "compared_characters": self.characters[0],
            "compared_train_characters": self.train_characters[0],
        }


def repeats(
    train: Ids,
    text: Ids,
    windows: Sequence[int] = WINDOWS,
    *,
    most_train: int = MOST_TRAIN,
    most_text: int = MOST_TEXT,
) -> Repeats:
    """For each window, the shares of ``text`` in repeated passages of at least that length.

    A character of ``text`` counts if it lies in a window that is repeated. The value is None if
    ``text`` is shorter than the window.

    Windows are compared by 64-bit hashes. Two different windows among a billion have the same hash
    with a probability of about 3%, which changes the share by a billionth. Time is linear in the
    lengths, and so is memory in that of ``text``, about 40 bytes for each character.

    Args:
        train: (N,) ids of the training text.
        text: (M,) ids of the held-out text.
        windows: lengths in characters, powers of 2.
        most_train: of a longer training text, only the last characters are read.
        most_text: of a longer held-out text, only the first characters are read.
    """
    read_train, read_text = train[max(0, len(train) - most_train) :], text[:most_text]
    return Repeats(
        {str(window): _repeated(read_train, read_text, window) for window in windows},
        (len(read_text), len(text)),
        (len(read_train), len(train)),
    )


def _repeated(train: Ids, text: Ids, window: int) -> Repeated | None:
    if len(text) < window:
        return None
    if (len(train) > COMPILE or "numba" in sys.modules) and can_compile():
        from charlm.tasks.language_model import compiled_repeats

        found = compiled_repeats.repeated_windows(train, text, window)
    else:
        found = repeated_windows(train, text, window)
    return Repeated(*(float(covered(each, window).mean()) for each in found))


def repeated_windows(train: Ids, text: Ids, window: int) -> tuple[Bools, Bools]:
    """For each of the M windows of a text, whether it is in ``train``, and earlier in the text.

    A window is earlier if it ends before this one begins. ``text`` has at least one window.
    """
    wanted, firsts, ranks = np.unique(  # U distinct windows; (M,) ranks
        np.concatenate([*window_hashes(text, window)]), return_index=True, return_inverse=True
    )
    found = np.zeros(len(wanted), bool)
    for _, which in wanted_windows(train, wanted, window):
        found[which] = True
    return found[ranks], firsts[ranks] + window <= np.arange(len(ranks))


def wanted_windows(train: Ids, wanted: Hashes, window: int) -> Iterator[tuple[Places, Places]]:
    """The windows of ``train`` with one of the ``wanted`` hashes, which are sorted, by chunk.

    Yields:
        Where they begin in ``train``, and which of the wanted hashes each has.
    """
    # Most windows of a text are not wanted: two tables, of the low and of the high bits, sort them
    # out.
    size = min(_MAX_SIEVE, 8 << (len(wanted) - 1).bit_length())
    sieves = [(np.uint64(shift), np.zeros(size, bool)) for shift in (0, 32)]
    for shift, sieve in sieves:
        sieve[(wanted >> shift) & np.uint64(size - 1)] = True
    begin = 0
    for hashes in window_hashes(train, window):
        starts = np.arange(begin, begin + len(hashes))
        begin += len(hashes)
        for shift, sieve in sieves:
            kept = sieve[(hashes >> shift) & np.uint64(size - 1)]
            hashes, starts = hashes[kept], starts[kept]
        which = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        equal = wanted[which] == hashes
        yield starts[equal], which[equal]


def covered(windows: Bools, size: int) -> Bools:
    """(M + size - 1,): which characters lie in one of the marked windows, of an (M,) mask."""
    edges = np.zeros(len(windows) + size, np.int64)  # a window at i covers i to i + size - 1
    edges[: len(windows)] += windows
    edges[size:] -= windows
    return np.asarray(edges.cumsum()[:-1] > 0)


def window_hashes(ids: Ids, window: int) -> Iterator[Hashes]:
    """The hashes of all windows of a text, a chunk at a time, (C,) each; ``window`` as above.

    The hash of 2 n characters is made from those of its halves, so a window of n characters takes
    log2(n) passes. Multiplication and shift alternate, because a product alone never carries a bit
    to a lower place.
    """
    for start in range(0, len(ids) - window + 1, CHUNK):
        part = ids[start : start + CHUNK + window - 1]
        hashes = (part.astype(np.uint64) + _FACTORS[0]) * _FACTORS[1]
        length = 1
        while length < window:
            halves, hashes = hashes, hashes[:-length] * _FACTORS[0]
            hashes += halves[length:]
            hashes *= _FACTORS[1]
            hashes ^= hashes >> np.uint64(32)
            length *= 2
        yield hashes


def repeats_words(repeated: Repeats, name: str) -> str | None:
    """The shares of the shortest window in a line; None if the text is too short for it.

    ``name`` is that of the text. The line also says what high shares mean.
    """
    window, most = next(iter(repeated.shares.items()))
    if most is None:
        return None
    words = f"repeats of {window}+ characters in the {name}: "
    if max(most) < SHOWN:
        words += "none"
    else:
        words += f"{most.training:.1%} from training, {most.itself:.1%} from itself"
    (read, all_), (train, all_train) = repeated.characters, repeated.train_characters
    parts = [f"its first {read:,} characters"] if read < all_ else []
    parts += [f"the last {train:,} of training"] if train < all_train else []
    words += f" (compared: {', '.join(parts)})" if parts else ""
    if most.training > HIGH:
        words += "; on new text the scores would be worse"
    if most.itself > HIGH:
        words += "; xz profits, because it learns while it reads"
    return words
