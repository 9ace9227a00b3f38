"""Random and consecutive sampling of subsequences from one long sequence of token ids, and lines.

Dive into Deep Learning, section 8.3 (0.17) and 6.3 (v1 of the Chinese edition). A batch is an
index into the corpus tensor, on its device; nothing is copied into Python.

T steps, B batch, N tokens, L lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.corpus.id_cache import release_pages
from charlm.errors import CorpusError, counted
from charlm.recurrent.states import StackState, map_state
from charlm.tasks.sequences import length_batches

_SLOW = 64  # consecutive batches, which go slowly through a text that is mapped from a file
PADDING = -100  # the target of a step after the end of a line; F.cross_entropy ignores it


class Batch(NamedTuple):
    """Token ids, and for each the id that follows it."""

    inputs: Tensor  # (T, B) int64
    targets: Tensor  # (T, B) int64


def id_tensor(ids: Tensor | NDArray[np.integer], device: torch.device | None = None) -> Tensor:
    """Token ids as a tensor of their type: a tensor as it is, an array moved to the device.

    An array is not copied where that is possible, because a large one is mapped from a file.
    """
    if isinstance(ids, Tensor):
        return ids
    shared = ids.view()
    try:
        shared.setflags(write=True)  # torch warns of read-only arrays; nothing here writes to it
    except ValueError:
        shared = ids.copy()
    return torch.from_numpy(shared).to(device)


def draw_offset(sampling: str, seq_len: int, generator: torch.Generator) -> int:
    """The number of tokens to skip at the start of an epoch, uniform, drawn as in d2l 0.17.0."""
    highest = seq_len - 1 if sampling == "random" else seq_len
    return int(torch.randint(highest + 1, (), generator=generator))


def check_length(num_tokens: int, *, batch_size: int, seq_len: int, highest_offset: int) -> None:
    """Check that a text fills one whole batch from every offset.

    Raises:
        CorpusError: the text is too short; the message says how many characters are needed.
    """
    needed = batch_size * seq_len + 1 + highest_offset
    if num_tokens < needed:
        raise CorpusError(
            f"the train split has {counted(num_tokens, 'character')}, but a batch of {batch_size} "
            f"rows of {seq_len} steps needs {needed:,}",
            "use a longer text, or a smaller --batch-size or --seq-len",
        )


AnyBatch = TypeVar("AnyBatch")


class Batches(Generic[AnyBatch]):
    """The batches of an epoch, in order. A batch is made when it is indexed."""

    def __init__(self, number: int, make: Callable[[int], AnyBatch]) -> None:
        self._number = number
        self._make = make

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> AnyBatch:
        if not 0 <= index < self._number:
            raise IndexError(index)
        return self._make(index)


def random_batches(
    ids: Tensor | NDArray[np.integer],
    *,
    batch_size: int,
    seq_len: int,
    generator: torch.Generator,
    offset: int = 0,
    drop_last: bool = False,
) -> Batches[Batch]:
    """Every subsequence of ``seq_len`` tokens after ``offset``, once, in shuffled order.

    Args:
        ids: (N,), an array or a tensor on any device.
        batch_size: B; the last batch may be smaller.
        seq_len: T.
        generator: draws the order, on the CPU.
        offset: the number of tokens to skip at the start.
        drop_last: leave out a smaller last batch, as the book does.
    """
    ids = id_tensor(ids)
    num_subsequences = max(0, len(ids) - offset - 1) // seq_len
    narrow = torch.int32 if num_subsequences < 2**31 else torch.int64  # the order is the same
    order = torch.randperm(num_subsequences, generator=generator, dtype=narrow)
    steps = torch.arange(seq_len, device=ids.device).unsqueeze(1)  # (T, 1)

    def make(index: int) -> Batch:
        release_pages()  # each row may bring 2 MiB of a mapped text into memory
        chosen = order[index * batch_size : (index + 1) * batch_size].to(ids.device)  # (B,)
        positions = chosen.long() * seq_len + (offset + steps)  # (T, B)
        return Batch(ids[positions].long(), ids[positions + 1].long())

    rest = 0 if drop_last else batch_size - 1
    return Batches((num_subsequences + rest) // batch_size, make)


def consecutive_batches(
    ids: Tensor | NDArray[np.integer], *, batch_size: int, seq_len: int, offset: int = 0
) -> Batches[Batch]:
    """The sequence as B long rows: row b of each batch continues row b of the batch before.

    The ends of the rows after the last whole batch are left out; see `random_batches`.

    >>> ids = charlm.Vocabulary.from_text("abcd").encode("abcdabcdab")
    >>> inputs, targets = charlm.consecutive_batches(ids, batch_size=2, seq_len=3)[0]
    >>> inputs.T.tolist(), targets.T.tolist()
    ([[1, 2, 3], [1, 2, 3]], [[2, 3, 4], [2, 3, 4]])
    """
    ids = id_tensor(ids)
    row_length = max(0, len(ids) - offset - 1) // batch_size
    end = offset + row_length * batch_size
    inputs = ids[offset:end].view(batch_size, row_length).T  # (row length, B)
    targets = ids[offset + 1 : end + 1].view(batch_size, row_length).T

    def make(index: int) -> Batch:
        if index % _SLOW == 0:
            release_pages()
        rows = slice(index * seq_len, (index + 1) * seq_len)
        return Batch(inputs[rows].long(), targets[rows].long())

    return Batches(row_length // seq_len, make)


class LineBatch(NamedTuple):
    """The same steps of some lines, the longest line first. The padding comes after a line's end.

    A line has the line end before it as its first input, and its own line end as its last target.
    """

    inputs: Tensor  # (T, B) int64; any id in the padding
    targets: Tensor  # (T, B) int64; ``PADDING`` in the padding
    characters: int  # the targets that are not padding
    begins: bool  # whether the lines begin here; if not, the B first rows of the batch before go on


class Lines:
    """The L lines of a text of token ids.

    Args:
        ids: (N,) integers, on any device: a line end, and the lines, each with its line end.
    """

    def __init__(self, ids: Tensor) -> None:
        ends = (ids == ids[0]).nonzero().squeeze(1)  # (L + 1,)
        self._ids, self._starts, self._lengths = ids, ends[:-1], ends.diff()  # (L,) each
        self.lengths = self._lengths.cpu()  # (L,) characters to predict, with the line end

    def parts(self, rows: Tensor, steps: int) -> list[tuple[Tensor, range]]:
        """Some lines in equal parts of at most ``steps`` steps: (B,) rows and steps of each part.

        The lines that end before a part are not in it.
        """
        lengths, order = self.lengths[rows].sort(descending=True, stable=True)
        rows, longest = rows[order], int(lengths[0])
        size = -(-longest // -(-longest // steps))
        parts = (range(first, min(first + size, longest)) for first in range(0, longest, size))
        return [(rows[: int((lengths > part.start).sum())], part) for part in parts]

    def batch(self, rows: Tensor, steps: range) -> LineBatch:
        """The given steps of the (B,) ``rows``."""
        lengths = (self.lengths[rows] - steps.start).clamp(max=len(steps))  # (B,) of this part
        rows = rows.to(self._ids.device)
        step = torch.arange(steps.start, steps.stop, device=rows.device).unsqueeze(1)  # (T, 1)
        positions = self.positions(rows, steps)
        targets = self._ids[positions + 1].long().where(step < self._lengths[rows], PADDING)
        return LineBatch(self._ids[positions].long(), targets, int(lengths.sum()), steps.start == 0)

    def positions(self, rows: Tensor, steps: range) -> Tensor:
        """(T, B) the places in the text of the given steps of the (B,) ``rows``."""
        rows = rows.to(self._ids.device)
        step = torch.arange(steps.start, steps.stop, device=rows.device).unsqueeze(1)  # (T, 1)
        return (self._starts[rows] + step).clamp(max=len(self._ids) - 2)


def first_rows(state: StackState, rows: int) -> StackState:
    """The state of the lines that a later part still has: the first ``rows`` of the batch."""
    return map_state(lambda tensor: tensor[:rows], state)


def line_batches(
    lines: Lines, *, batch_size: int, seq_len: int, generator: torch.Generator
) -> Batches[LineBatch]:
    """Every line once, in batches of lines of similar lengths; see `length_batches`.

    Lines longer than ``seq_len`` are read in equal parts, which are batches that follow each other.

    Args:
        batch_size: B; a batch may be smaller.
        seq_len: the largest T.
        generator: draws the order, on the CPU.
    """
    batches = length_batches(lines.lengths, batch_size, generator)
    parts = [part for rows in batches for part in lines.parts(rows, seq_len)]
    return Batches(len(parts), lambda index: lines.batch(*parts[index]))
