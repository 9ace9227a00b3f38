from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charlm.errors import CorpusError, counted
from charlm.tasks.language_model.batches import (
    PADDING,
    Batch,
    Lines,
    check_length,
    consecutive_batches,
    draw_offset,
    line_batches,
    random_batches,
)

few = settings(derandomize=True, deadline=None, max_examples=60)

LENGTHS = st.integers(0, 150)
BATCH_SIZES = st.integers(1, 6)
SEQ_LENS = st.integers(1, 12)
OFFSETS = st.integers(0, 12)
SEEDS = st.integers(0, 2**32)


def tokens(length: int) -> Tensor:
    """Each token is its own position, so a batch says where it was taken from."""
    return torch.arange(length)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(batches: Iterable[Batch]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(inputs, targets) of each row of each batch."""
    return [
        (tuple(inputs), tuple(targets))
        for batch in batches
        for inputs, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True)
    ]


# Random sampling


@few
@given(LENGTHS, BATCH_SIZES, SEQ_LENS, OFFSETS, SEEDS)
def test_random_takes_every_subsequence_once(length, batch_size, seq_len, offset, seed):
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "offset": offset}
    batches = random_batches(tokens(length), **sizes, generator=seeded(seed))
    starts = range(offset, length - seq_len, seq_len)  # the target of the last step exists
    assert sorted(rows(batches)) == [
        (tuple(range(start, start + seq_len)), tuple(range(start + 1, start + seq_len + 1)))
        for start in starts
    ]


@few
@given(LENGTHS, BATCH_SIZES, SEQ_LENS, OFFSETS, SEEDS)
def test_all_random_batches_but_the_last_are_whole(length, batch_size, seq_len, offset, seed):
    sizes = {"batch_size": batch_size, "seq_len": seq_len, "offset": offset}
    ids = tokens(length)
    kept = list(random_batches(ids, **sizes, generator=seeded(seed)))
    dropped = list(random_batches(ids, **sizes, generator=seeded(seed), drop_last=True))
    whole, left = divmod(len(rows(kept)), batch_size)
    shapes = [batch.inputs.shape for batch in kept]
    assert shapes == [(seq_len, batch_size)] * whole + [(seq_len, left)] * (left > 0)
    assert shapes == [batch.targets.shape for batch in kept]
    assert len(dropped) == whole
    assert rows(dropped) == rows(kept)[: whole * batch_size]


def test_random_order_depends_on_seed_and_epoch():
    def order(generator):
        return rows(random_batches(tokens(1000), batch_size=4, seq_len=5, generator=generator))

    generator = seeded(0)
    first, second = order(generator), order(generator)
    assert order(seeded(0)) == first
    orders = (first, second, order(seeded(1)), sorted(first))
    assert all(a != b for a, b in combinations(orders, 2))
    assert all(sorted(each) == orders[-1] for each in orders)


# Consecutive sampling


@few
@given(LENGTHS, BATCH_SIZES, SEQ_LENS, OFFSETS)
def test_consecutive_rows_continue(length, batch_size, seq_len, offset):
    ids = tokens(length)
    batches = list(consecutive_batches(ids, batch_size=batch_size, seq_len=seq_len, offset=offset))
    for batch in batches:
        assert batch.inputs.shape == batch.targets.shape == (seq_len, batch_size)
    # A row through all batches is one stretch of the text.
    row_length = max(0, length - offset - 1) // batch_size
    steps = row_length // seq_len * seq_len
    assert len(batches) == row_length // seq_len
    for b in range(batch_size):
        start = offset + b * row_length
        inputs = [int(i) for batch in batches for i in batch.inputs[:, b]]
        targets = [int(i) for batch in batches for i in batch.targets[:, b]]
        assert inputs == list(range(start, start + steps))
        assert targets == [i + 1 for i in inputs]


# The start of an epoch, and its length


@pytest.mark.parametrize("sampling", ["random", "consecutive"])
@pytest.mark.parametrize("seq_len", [1, 2, 5])
def test_offsets_are_the_books(sampling, seq_len, d2l, monkeypatch):
    asked = []

    def randint(low, high):
        asked.append(range(low, high + 1))
        return low

    monkeypatch.setattr(d2l, "random", SimpleNamespace(randint=randint, shuffle=lambda _: None))
    iterate = {"random": d2l.seq_data_iter_random, "consecutive": d2l.seq_data_iter_sequential}
    next(iterate[sampling](list(range(100)), 2, seq_len))
    generator = seeded()
    drawn = {draw_offset(sampling, seq_len, generator) for _ in range(300)}
    assert [drawn] == [set(offsets) for offsets in asked]


@few
@given(BATCH_SIZES, SEQ_LENS, st.sampled_from(["random", "consecutive"]), st.booleans())
def test_text_just_long_enough_fills_a_batch_from_every_offset(
    batch_size, seq_len, sampling, shifted
):
    highest = (seq_len - (sampling == "random")) if shifted else 0
    needed = batch_size * seq_len + 1 + highest
    sizes = {"batch_size": batch_size, "seq_len": seq_len}

    def full_batches(length, offset):
        if sampling == "consecutive":
            batches = consecutive_batches(tokens(length), **sizes, offset=offset)
        else:
            batches = random_batches(
                tokens(length), **sizes, generator=seeded(), offset=offset, drop_last=True
            )
        return len(list(batches))

    check_length(needed, **sizes, highest_offset=highest)
    assert all(full_batches(needed, offset) for offset in range(highest + 1))
    # One character less would be too few, and only then is it refused.
    assert not full_batches(needed - 1, highest)
    with pytest.raises(CorpusError) as refused:
        check_length(needed - 1, **sizes, highest_offset=highest)
    assert refused.value.message == (
        f"the train split has {counted(needed - 1, 'character')}, but a batch of {batch_size} rows "
        f"of {seq_len} steps needs {needed:,}"
    )
    assert refused.value.hint


# Lines

END = 9
LINES = st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=14), min_size=1, max_size=25)


@few
@given(LINES, BATCH_SIZES, SEQ_LENS, SEEDS)
def test_lines_are_read_once_from_their_start_to_their_end(drawn, batch_size, seq_len, seed):
    """The parts of a batch follow each other; a row of a later part goes on with the same line."""
    lines = Lines(torch.tensor([END, *(token for line in drawn for token in [*line, END])]))
    sizes = {"batch_size": batch_size, "seq_len": seq_len}
    read: list[tuple[list[int], list[int]]] = []
    rows: list[tuple[list[int], list[int]]] = []
    for batch in line_batches(lines, **sizes, generator=seeded(seed)):
        steps, count = batch.inputs.shape
        assert steps <= seq_len
        assert count <= batch_size
        assert int((batch.targets != PADDING).sum()) == batch.characters > 0
        if batch.begins:
            read += rows
            rows = [([], []) for _ in range(count)]
        assert count <= len(rows)
        columns = zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True)
        for (inputs, targets), (more_inputs, more_targets) in zip(rows, columns, strict=False):
            valid = [target for target in more_targets if target != PADDING]
            assert more_targets[len(valid) :] == [PADDING] * (steps - len(valid))
            inputs += more_inputs[: len(valid)]
            targets += valid
    expected = [([END, *line], [*line, END]) for line in drawn]
    assert sorted(read + rows) == sorted(expected)


def test_a_long_line_is_read_in_equal_parts():
    lines = Lines(torch.tensor([END] + [1] * 20 + [END] + [2] * 4 + [END]))
    batches = line_batches(lines, batch_size=2, seq_len=10, generator=seeded())
    assert [batch.inputs.shape for batch in batches] == [(7, 2), (7, 1), (7, 1)]
    assert [batch.begins for batch in batches] == [True, False, False]


def test_lines_of_similar_lengths_share_a_batch():
    """Of 800 lines of 1 to 40 characters, in batches of 16, little is padded."""
    lengths = torch.randint(1, 41, (800,), generator=seeded(1)).tolist()
    lines = Lines(torch.tensor([END, *(token for n in lengths for token in [1] * n + [END])]))
    batches = [*line_batches(lines, batch_size=16, seq_len=64, generator=seeded())]
    read = sum(batch.inputs.numel() for batch in batches)
    assert sum(lengths) + 800 <= read < 1.05 * (sum(lengths) + 800)


def test_the_order_of_lines_depends_on_seed_and_epoch():
    def order(generator):
        lines = Lines(torch.tensor([END, 1, END, 2, END, 3, END, 4, END]))
        batches = line_batches(lines, batch_size=1, seq_len=5, generator=generator)
        return [int(batch.targets[0]) for batch in batches]

    generator = seeded(1)
    first, second = order(generator), order(generator)
    assert first == order(seeded(1)) != second


# Side by side with the book's iterators


@few
@given(LENGTHS, BATCH_SIZES, SEQ_LENS, SEEDS, st.data())
def test_random_is_the_book_under_the_same_shuffle(d2l, length, batch_size, seq_len, seed, data):
    offset = data.draw(st.integers(0, seq_len - 1))
    length += seq_len

    def shuffle(starts):
        order = torch.randperm(len(starts), generator=seeded(seed)).tolist()
        starts[:] = [starts[i] for i in order]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d2l, "random", SimpleNamespace(randint=lambda *_: offset, shuffle=shuffle))
        theirs = list(d2l.seq_data_iter_random(list(range(length)), batch_size, seq_len))
    ours = list(
        random_batches(
            tokens(length),
            batch_size=batch_size,
            seq_len=seq_len,
            generator=seeded(seed),
            offset=offset,
            drop_last=True,
        )
    )
    assert_same(ours, theirs)


@few
@given(LENGTHS, BATCH_SIZES, SEQ_LENS, st.data())
def test_consecutive_is_the_book(d2l, length, batch_size, seq_len, data):
    offset = data.draw(st.integers(0, seq_len))
    length += seq_len + batch_size + 1  # the book's reshape refuses rows of nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(d2l, "random", SimpleNamespace(randint=lambda *_: offset))
        theirs = list(d2l.seq_data_iter_sequential(list(range(length)), batch_size, seq_len))
    ours = list(
        consecutive_batches(tokens(length), batch_size=batch_size, seq_len=seq_len, offset=offset)
    )
    assert_same(ours, theirs)


def assert_same(ours: list[Batch], theirs: list[tuple[Tensor, Tensor]]) -> None:
    """The book's batches are (B, T)."""
    assert len(ours) == len(theirs)
    for batch, (inputs, targets) in zip(ours, theirs, strict=True):
        assert torch.equal(batch.inputs, inputs.T)
        assert torch.equal(batch.targets, targets.T)
