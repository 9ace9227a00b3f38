"""All steps of the minimal cells, compiled by numba; twins in `charlm.recurrent.minimal_kernel`.

Symbols: T steps, N rows of all steps together, B rows of the first step, P parts of the projected
input (2: update gate and candidate; 3: forget gate, input gate and candidate), H units.
"""

# numba infers the types of these functions.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np

from charlm.recurrent.pointwise_numba import (
    ONE,
    ZERO,
    _float_of_bits,
    compiled,
    load,
    sigmoid,
    store,
)

MOST, LOG2_E, ROUNDER = np.float32(80), np.float32(1.44269504), np.float32(1.5 * 2**23)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
E2, E3, E4, E5, E6, E7 = np.array(
    [5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3,
     1.9875691500e-4], np.float32
)  # fmt: skip


@compiled
def exp(x):
    """A power of 2 times a polynomial, as in Cephes; numbers beyond +-80 count as +-80."""
    x = MOST if x > MOST else x  # NaN stays NaN
    x = -MOST if x < -MOST else x
    power = (x * LOG2_E + ROUNDER) - ROUNDER
    r = x - power * LN_2_HIGH - power * LN_2_LOW
    value = ((((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2) * r * r + r) + ONE
    return value * _float_of_bits(np.uint32(np.int32(power) + np.int32(127)) << np.uint32(23))


@compiled
def keep(parts, k):
    """Fill k, (H,), from the (P, H) projected input: 1 - z, or f / (f + i)."""
    if len(parts) == 2:
        z = parts[0]
        for j in range(len(k)):
            k[j] = sigmoid(-load(z, j))
    else:
        f, i = parts[0], parts[1]
        for j in range(len(k)):
            forget, given = -load(f, j), -load(i, j)
            most = max(ZERO, forget, given)  # so that no exponent is above 0
            one, forget, given = exp(-most), exp(forget - most), exp(given - most)
            k[j] = (one + given) / (one + forget + one + given)


@compiled
def scan(sizes, x, first, hidden):
    """Fill hidden, (N, H), from x, (N, P, H), and first, (B, H); sizes (T,): rows of each step."""
    k = np.empty(first.shape[1], np.float32)
    start = last = 0
    for t in range(len(sizes)):
        for row in range(sizes[t]):
            b = first[row] if t == 0 else hidden[last + row]
            parts, h = x[start + row], hidden[start + row]
            keep(parts, k)
            n = parts[len(parts) - 1]
            for j in range(len(k)):
                h[j] = load(n, j) + k[j] * (b[j] - load(n, j))
        last, start = start, start + sizes[t]


@compiled
def scan_backward(sizes, x, first, hidden, by_output, by_state, by_x):
    """Fill by_x, (N, P, H); by_state, (B, H), is by the last states, and then by the first."""
    units = first.shape[1]
    k, slope = np.empty(units, np.float32), np.empty(units, np.float32)
    start = len(hidden)
    for t in range(len(sizes) - 1, -1, -1):
        start -= sizes[t]
        for row in range(sizes[t]):
            b = first[row] if t == 0 else hidden[start - sizes[t - 1] + row]
            parts, by_parts, g = x[start + row], by_x[start + row], by_state[row]
            go = by_output[start + row]
            keep(parts, k)
            candidate = len(parts) - 1
            n, by_n = parts[candidate], by_parts[candidate]
            for j in range(units):
                g[j] += go[j]
            for j in range(units):
                slope[j] = g[j] * (b[j] - load(n, j)) * k[j] * (ONE - k[j])
            if candidate == 1:
                by_z = by_parts[0]
                for j in range(units):
                    store(by_z, j, -slope[j])
            else:  # k is sigmoid(ln f - ln i), and ln f has the slope 1 - f
                f, i, by_f, by_i = parts[0], parts[1], by_parts[0], by_parts[1]
                for j in range(units):
                    store(by_f, j, slope[j] * sigmoid(-load(f, j)))
                for j in range(units):
                    store(by_i, j, -slope[j] * sigmoid(-load(i, j)))
            for j in range(units):
                store(by_n, j, g[j] * (ONE - k[j]))
            for j in range(units):
                g[j] *= k[j]
