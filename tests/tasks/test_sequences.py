"""Padded batches of sequences, batches of similar lengths, and results computed in batches."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import Stopped
from charlm.tasks.sequences import POOL, Sequences, compute_in_batches, length_batches

CPU = torch.device("cpu")
PARTS = ([5, 6, 7], [8], [9, 10])

lengths_of = st.lists(st.integers(1, 50), min_size=1, max_size=200)
lists_of_ids = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1)


def sequences(parts=PARTS, dtype=torch.int64) -> Sequences:
    return Sequences([torch.tensor(part, dtype=dtype) for part in parts], CPU)


def columns(matrix: torch.Tensor) -> list[list[int]]:
    return matrix.T.tolist()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_batches_are_int64(dtype):
    stored = sequences(dtype=dtype)
    assert stored.padded(torch.tensor([0])).dtype == torch.int64
    assert len(stored) == 3
    assert stored.lengths.tolist() == [3, 1, 2]


@given(lists_of_ids, st.data(), st.booleans(), st.integers(0, 4))
def test_padding_by_lists(parts, data, before, more):
    rows = data.draw(st.lists(st.integers(0, len(parts) - 1), min_size=1, max_size=6))
    steps = max(len(parts[row]) for row in rows) + more
    found = sequences(parts).padded(
        torch.tensor(rows), steps=steps if more else None, before=before, padding=77
    )
    expected = []
    for row in rows:
        padding = [77] * (steps - len(parts[row]))
        expected.append(padding + parts[row] if before else parts[row] + padding)
    assert columns(found) == expected


def test_no_sequences():
    assert len(Sequences([], CPU)) == 0


@given(lengths_of, st.integers(1, 60), st.integers(0, 2**32))
def test_each_sequence_is_in_one_batch(lengths, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    for given_generator in (generator, None):
        batches = length_batches(torch.tensor(lengths), batch_size, given_generator)
        assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
        sizes = sorted(map(len, batches), reverse=True)
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert 1 <= sizes[-1] <= batch_size


@given(lengths_of, st.integers(1, 60))
def test_without_a_generator_the_longest_sequences_come_first(lengths, batch_size):
    order = torch.cat(length_batches(torch.tensor(lengths), batch_size)).tolist()
    assert order == sorted(range(len(lengths)), key=lambda row: -lengths[row])


@given(lengths_of, st.integers(4, 60), st.integers(0, 99))
def test_sequences_of_a_batch_have_similar_lengths(lengths, batch_size, seed):
    """In a pool, the range of lengths of one batch does not overlap that of another batch."""
    generator = torch.Generator().manual_seed(seed)
    assert len(lengths) <= POOL * batch_size
    found = [
        [lengths[row] for row in batch.tolist()]
        for batch in length_batches(torch.tensor(lengths), batch_size, generator)
    ]
    found.sort(key=lambda batch: (min(batch), max(batch)))
    for left, right in pairwise(found):
        assert max(left) <= min(right)


def test_order_of_batches_and_of_equal_lengths_is_random():
    lengths = torch.arange(10 * POOL) // 250  # two lengths, all sorted together
    batches = length_batches(lengths, 10, torch.Generator().manual_seed(0))
    firsts = [int(lengths[batch[0]]) for batch in batches]
    assert firsts not in (sorted(firsts), sorted(firsts, reverse=True))
    assert any(batch.tolist() != sorted(batch.tolist()) for batch in batches)


def test_sequences_are_sorted_in_pools():
    """So that batches differ between epochs."""
    lengths = torch.arange(3 * POOL)
    batches = length_batches(lengths, 1 + 1, torch.Generator().manual_seed(0))
    neighbours = sum(int(abs(batch[0] - batch[1])) == 1 for batch in batches if len(batch) == 2)
    assert 0 < neighbours < len(batches)


def test_same_state_of_the_generator_gives_the_same_batches():
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


LENGTHS = torch.tensor([3, 1, 4, 2, 2])


@pytest.mark.parametrize("rows", [1, 2, 256])
@pytest.mark.parametrize("training", [True, False])
def test_results_are_in_order_and_the_mode_is_kept(rows, training):
    model = torch.nn.Dropout(0.5).train(training)
    before = torch.get_rng_state()

    def compute(batch):
        assert not model.training
        assert not torch.is_grad_enabled()
        return [f"{length} of {row}" for row, length in zip(batch, LENGTHS[batch], strict=True)]

    found = compute_in_batches(model, LENGTHS, compute, rows=rows)
    assert found == ["3 of 0", "1 of 1", "4 of 2", "2 of 3", "2 of 4"]
    assert model.training == training
    assert torch.equal(torch.get_rng_state(), before)
    assert compute_in_batches(model, LENGTHS[:0], compute) == []


@pytest.mark.parametrize(("stop_at", "calls"), [(2, 2), (10, 3)])
def test_should_stop_is_called_before_each_batch(stop_at, calls):
    model, called, computed = torch.nn.Dropout(0.5).train(), [], []

    def should_stop():
        called.append(len(computed))
        return len(called) == stop_at

    def compute(batch):
        computed.append(batch)
        return batch

    arguments = (model, LENGTHS, compute)
    if stop_at == 2:
        with pytest.raises(Stopped):
            compute_in_batches(*arguments, rows=2, should_stop=should_stop)
    else:
        assert len(compute_in_batches(*arguments, rows=2, should_stop=should_stop)) == 5
    assert called == list(range(calls))
    assert model.training
