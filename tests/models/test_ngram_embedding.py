"""Embeddings of n-grams against a twin in plain Python, and against dense gradients."""

from __future__ import annotations

import pytest
import torch

from charlm.models.ngram_embedding import BASE, SPREAD, ContextState, NGramEmbedding

STEPS, BATCH, VOCABULARY = 11, 3, 7


def embedding_of(order: int, rows: int = 50, size: int = 4, dropout: float = 0.0) -> NGramEmbedding:
    ngrams = NGramEmbedding(order, rows, size, dropout)
    torch.nn.init.normal_(ngrams.table)
    return ngrams


def some_ids(vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randint(vocabulary, (STEPS, BATCH))


def wrapped(number: int) -> int:
    """A whole number as 64 bits hold it, with a sign."""
    return (number + 2**63) % 2**64 - 2**63


def slow_rows(text: list[int], order: int, rows: int) -> list[list[int]]:
    """The rows of the n-grams that end at each character; before the text there is the id 0."""
    read, found = [0] * (order - 1) + text, []
    for end in range(order - 1, len(read)):
        value, at = read[end], []
        for n in range(2, order + 1):
            value = wrapped(wrapped(value * BASE) + read[end - n + 1] + 1)
            at.append((n - 2) * rows + (wrapped(value * SPREAD) >> 32) % rows)
        found.append(at)
    return found


@pytest.mark.parametrize("order", [2, 3, 5, 16])
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 7), (50, 7), (32_768, 5000), (10**7, 2**20)])
def test_rows_are_those_of_plain_python(order, rows, vocabulary):
    with torch.device("meta"):
        ngrams = NGramEmbedding(order, rows, 4, 0.0)
    ids, context = some_ids(vocabulary), ContextState(torch.zeros(BATCH, order - 1))
    found, after = ngrams.hashed(ids, context)
    assert found.shape == (STEPS, BATCH, order - 1)
    for row, text in enumerate(ids.T.tolist()):
        assert found[:, row].tolist() == slow_rows(text, order, rows)
        last = ([0] * order + text)[-(order - 1) :]
        assert after.previous[row].tolist() == last


def test_n_grams_are_spread_evenly_over_the_rows():
    """Of 10,000 different 3-grams in 32,768 rows, about 26% share a row with an earlier one."""
    ids = torch.cartesian_prod(*[torch.arange(1, 23)] * 3)[:10_000].T
    ngrams = embedding_of(3, 32_768, 1)
    rows = ngrams.hashed(ids, ngrams.initial_context(10_000))[0][-1, :, 1]
    shared = 1 - len(rows.unique()) / 10_000
    expected = 1 - 32_768 / 10_000 * (1 - (1 - 1 / 32_768) ** 10_000)
    assert shared == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("order", [2, 4, 16])
@pytest.mark.parametrize("cuts", [[0, 1, 2, 3, 11], [0, 5, 11], range(12)])
def test_a_text_in_parts_is_the_whole_text(order, cuts):
    """Also where a part is shorter than the n-grams."""
    ngrams, ids = embedding_of(order), some_ids()
    whole, last = ngrams(ids, ngrams.initial_context(BATCH))
    parts, context = [], ngrams.initial_context(BATCH)
    for begin, end in zip(cuts, [*cuts][1:], strict=False):
        part, context = ngrams(ids[begin:end], context)
        parts.append(part)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(context.previous, last.previous)


def test_vectors_are_sums_of_rows_and_a_new_table_is_zero():
    ids, ngrams = some_ids(), embedding_of(4)
    vectors, _ = ngrams(ids, ngrams.initial_context(BATCH))
    for row, text in enumerate(ids.T.tolist()):
        expected = torch.stack([ngrams.table[at].sum(0) for at in slow_rows(text, 4, 50)])
        torch.testing.assert_close(vectors[:, row], expected)
    assert not NGramEmbedding(4, 50, 4, 0.0).table.any()


def test_dropout_leaves_n_grams_out_in_training_and_keeps_the_mean():
    """Each row is a unit vector of its own, so a sum shows which n-grams are left out."""
    ngrams, ids = embedding_of(5, 1, 4, dropout=0.25), torch.randint(VOCABULARY, (1000, 3))
    with torch.no_grad():
        ngrams.table.copy_(torch.eye(4))
    vectors, _ = ngrams(ids, ngrams.initial_context(3))
    assert vectors.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float((vectors == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert (
        float(torch.corrcoef(vectors.detach().flatten(0, 1).T).fill_diagonal_(0).abs().max()) < 0.1
    )
    assert (ngrams.eval()(ids, ngrams.initial_context(3))[0] == 1).all()


def test_threads_change_nothing():
    """Not a bit of the vectors and of the gradient; there are as many as in a training step."""
    ngrams, ids, found = embedding_of(5, 1000, 64), torch.randint(20, (64, 32)), []
    factors = torch.randn(64, 32, 64)
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ngrams.table.grad = None
        vectors, _ = ngrams(ids, ngrams.initial_context(32))
        (vectors * factors).sum().backward()
        found.append((vectors, ngrams.table.grad.coalesce().values()))
    torch.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_sparse_gradient_is_the_dense_one():
    ngrams, ids, factors = embedding_of(5), some_ids(), torch.randn(STEPS, BATCH, 4)
    vectors, _ = ngrams(ids, ngrams.initial_context(BATCH))
    (vectors * factors).sum().backward()
    sparse, ngrams.table.grad = ngrams.table.grad, None
    assert sparse.is_sparse
    indices, _ = ngrams.hashed(ids, ngrams.initial_context(BATCH))
    (ngrams.table[indices].sum(2) * factors).sum().backward()
    assert not ngrams.table.grad.is_sparse
    torch.testing.assert_close(sparse.to_dense(), ngrams.table.grad)
    assert {*sparse.coalesce().indices()[0].tolist()} == {*indices.flatten().tolist()}
