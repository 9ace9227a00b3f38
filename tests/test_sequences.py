"""Sequences end to end, padded when a batch is made, and batches of similar lengths."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.sequences import POOL, Sequences, length_batches

CPU = torch.device("cpu")
PARTS = ([5, 6, 7], [8], [9, 10])

lengths_of = st.lists(st.integers(1, 50), min_size=1, max_size=200)
lists_of_ids = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1)


def sequences(parts=PARTS, dtype=torch.int64) -> Sequences:
    return Sequences([torch.tensor(part, dtype=dtype) for part in parts], CPU)


def columns(matrix: torch.Tensor) -> list[list[int]]:
    return matrix.T.tolist()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_ids_come_out_as_int64(dtype):
    stored = sequences(dtype=dtype)
    assert stored.padded(torch.tensor([0])).dtype == torch.int64
    assert len(stored) == 3
    assert stored.lengths.tolist() == [3, 1, 2]


@given(lists_of_ids, st.data(), st.booleans(), st.integers(0, 4))
def test_any_rows_are_padded_as_lists_are(parts, data, before, more):
    rows = data.draw(st.lists(st.integers(0, len(parts) - 1), min_size=1, max_size=6))
    steps = max(len(parts[row]) for row in rows) + more
    found = sequences(parts).padded(
        torch.tensor(rows), steps=steps if more else None, before=before, padding=77
    )
    wanted = []
    for row in rows:
        padding = [77] * (steps - len(parts[row]))
        wanted.append(padding + parts[row] if before else parts[row] + padding)
    assert columns(found) == wanted


def test_none_at_all():
    assert len(Sequences([], CPU)) == 0


@given(lengths_of, st.integers(1, 60), st.integers(0, 2**32))
def test_every_row_is_in_one_batch(lengths, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    for given_generator in (generator, None):
        batches = length_batches(torch.tensor(lengths), batch_size, given_generator)
        assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
        sizes = sorted(map(len, batches), reverse=True)
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert 1 <= sizes[-1] <= batch_size


@given(lengths_of, st.integers(1, 60))
def test_without_a_generator_the_longest_come_first(lengths, batch_size):
    order = torch.cat(length_batches(torch.tensor(lengths), batch_size)).tolist()
    assert order == sorted(range(len(lengths)), key=lambda row: -lengths[row])


@given(lengths_of, st.integers(4, 60), st.integers(0, 99))
def test_the_rows_of_a_batch_are_of_similar_lengths(lengths, batch_size, seed):
    """Within the rows that are sorted together, no length lies between those of another batch."""
    generator = torch.Generator().manual_seed(seed)
    assert len(lengths) <= POOL * batch_size
    found = [[lengths[row] for row in batch.tolist()]
             for batch in length_batches(torch.tensor(lengths), batch_size, generator)]  # fmt: skip
    found.sort(key=lambda batch: (min(batch), max(batch)))
    for left, right in pairwise(found):
        assert max(left) <= min(right)


def test_batches_come_in_random_order_and_so_do_equal_lengths():
    lengths = torch.arange(10 * POOL) // 250  # two lengths, all sorted together
    batches = length_batches(lengths, 10, torch.Generator().manual_seed(0))
    firsts = [int(lengths[batch[0]]) for batch in batches]
    assert firsts not in (sorted(firsts), sorted(firsts, reverse=True))
    assert any(batch.tolist() != sorted(batch.tolist()) for batch in batches)


def test_rows_are_sorted_in_pools():
    """So that the same rows are not together in every epoch."""
    lengths = torch.arange(3 * POOL)
    batches = length_batches(lengths, 1 + 1, torch.Generator().manual_seed(0))
    neighbours = sum(int(abs(batch[0] - batch[1])) == 1 for batch in batches if len(batch) == 2)
    assert 0 < neighbours < len(batches)


def test_the_same_state_of_the_generator_gives_the_same_batches():
    lengths = torch.randint(1, 50, (300,))
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    state, drawn = generator.get_state(), []
    for _ in range(2):
        generator.set_state(state)
        drawn.append(torch.cat(length_batches(lengths, 16, generator)))
    assert torch.equal(*drawn)
    assert not torch.equal(torch.cat(length_batches(lengths, 16, generator)), drawn[0])
    assert torch.equal(torch.get_rng_state(), before)
