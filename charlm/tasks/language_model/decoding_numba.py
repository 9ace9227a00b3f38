"""Characters of texts, many steps in one compiled function.

`choose` is the twin of ``Decoding.choose``.

Symbols in shapes: T steps, B texts, V vocabulary, H output of the layers, E embedding of a model
with n-grams up to N characters; else E = 0 and N = 1.
"""

# Numba types these functions, mypy does not.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np

from charlm.corpus.vocabulary import UNKNOWN
from charlm.models.ngram_embedding import BASE, SPREAD
from charlm.recurrent.stepping_numba import add_product, compiled, step


@compiled
def write(
    layers,
    weights,
    embedding,
    table,
    head,
    bias,
    states,
    previous,
    logits,
    uniforms,
    choice,
    chosen,
):
    """Choose T characters of each text, and read them.

    Args:
        layers, weights: as of `charlm.recurrent.stepping.Weights`.
        embedding, table: (V, E) of the characters, and ((N - 1) * rows, E) of the n-grams.
        head, bias: (H + E, V) and (V,) of the output layer.
        states: as of `charlm.recurrent.stepping.state_array`; they are replaced.
        previous: (B, N - 1) int64 ids of the last characters; they are replaced.
        logits: (B, V) of the next characters; they are replaced.
        uniforms: (T, B) float64, from 0 to 1.
        choice: temperature, top-k and top-p; V and 1.0 filter nothing.
        chosen: (T, B) int64, which receives the ids.

    Returns:
        T, or the number of the first step with a logit that is not finite.
    """
    rows, size = logits.shape
    odds, heap = np.empty(size, np.float64), np.empty(size, np.int64)
    vectors = np.empty((rows, embedding.shape[1]), np.float32)
    for number in range(len(chosen)):
        for row in range(rows):
            token = choose(logits[row], choice, uniforms[number, row], odds, heap)
            if token < 0:
                return number
            chosen[number, row] = token
        if vectors.shape[1]:
            embed(chosen[number], previous, embedding, table, vectors)
        outputs = step(layers, weights, states, chosen[number], vectors)
        for row in range(rows):
            for token in range(size):
                logits[row, token] = bias[token]
        add_product(outputs, head[: outputs.shape[1]], logits)
        add_product(vectors, head[outputs.shape[1] :], logits)
    return len(chosen)


@compiled
def embed(tokens, previous, embedding, table, vectors):
    """The vectors of characters and of the n-grams that end there.

    Its twin is `charlm.models.ngram_embedding.NGramEmbedding`.

    Args:
        tokens: (B,) int64.
        previous, embedding, table: as in `write`.
        vectors: (B, E), which receives them.
    """
    before = previous.shape[1]
    rows = len(table) // before
    for text in range(len(tokens)):
        token, last, vector = tokens[text], previous[text], vectors[text]
        for j in range(len(vector)):
            vector[j] = embedding[token, j]
        value = token
        for n in range(before):
            value = value * BASE + last[before - 1 - n] + 1
            row = ((value * SPREAD) >> 32) % rows + n * rows
            for j in range(len(vector)):
                vector[j] += table[row, j]
        for n in range(before - 1):
            last[n] = last[n + 1]
        last[before - 1] = token


@compiled
def choose(logits, choice, uniform, odds, heap):
    """The id of a character, or -1 if a logit is not finite.

    Args:
        logits: (V,).
        choice, uniform: as in `write`.
        odds, heap: (V,) float64 and int64, for numbers on the way.
    """
    temperature, top_k, top_p = choice
    size = len(logits)
    best = 1  # id 0 is <unk>, which is never chosen
    for token in range(size):
        if not math.isfinite(logits[token]):
            return -1
        if token > 1 and logits[token] > logits[best]:
            best = token
    if temperature == 0:
        return best
    odds[UNKNOWN] = 0.0
    # The odds are the probabilities times a factor.
    highest = np.float64(logits[best])
    if top_k < size - 1:
        left = size - 1
        for token in range(1, size):
            odds[token] = 0.0
            heap[token - 1] = token
        _order(heap, left, logits)
        for _ in range(top_k):
            token = heap[0]
            odds[token] = math.exp((logits[token] - highest) / temperature)
            left -= 1
            heap[0] = heap[left]
            _sink(heap, 0, left, logits)
    else:
        for token in range(1, size):
            odds[token] = math.exp((logits[token] - highest) / temperature)
    if top_p < 1:
        _keep_most_probable(odds, top_p, heap)
    total = 0.0
    for token in range(1, size):
        total += odds[token]
    limit = uniform * total
    total = 0.0
    for token in range(1, size):
        total += odds[token]
        if total > limit:
            break
    return token


@compiled
def _keep_most_probable(odds, top_p, heap):
    """Set the (V,) odds outside the smallest set that reaches ``top_p`` to 0."""
    total = 0.0
    for token in range(len(odds)):
        total += odds[token]
    # All that are less probable than this sum to less than 1 - top_p: they are not needed.
    least = 0.999 * (1 - top_p) / len(odds)
    left = 0
    for token in range(len(odds)):
        odds[token] /= total
        if odds[token] >= least:
            heap[left] = token
            left += 1
        else:
            odds[token] = 0.0
    _order(heap, left, odds)
    reached = 0.0
    while left:
        token = heap[0]
        left -= 1
        heap[0] = heap[left]
        if reached >= top_p:
            break
        reached += odds[token]
        odds[token] = -odds[token]  # the sign says that it is kept
        _sink(heap, 0, left, odds)
    for token in range(len(odds)):
        odds[token] = max(-odds[token], 0.0)


@compiled
def _order(heap, size, keys):
    """Make a heap of ids: the first has the greatest key, and of equal ones the lowest id."""
    for place in range(size // 2 - 1, -1, -1):
        _sink(heap, place, size, keys)


@compiled
def _sink(heap, place, size, keys):
    """Exchange an id with those below it until none of them comes before it."""
    token = heap[place]
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _before(heap[child + 1], heap[child], keys):
            child += 1
        if not _before(heap[child], token, keys):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = token


@compiled
def _before(first, second, keys):
    return keys[first] > keys[second] or (keys[first] == keys[second] and first < second)
