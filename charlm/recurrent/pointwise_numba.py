"""The pointwise part of a step of each kernel, compiled by numba.

Each function has its twin of the same name in `charlm.recurrent.pointwise`, where the arguments are
explained. Arrays are float32; products and what goes into them may be bfloat16, as uint16.

Each loop over the units writes one array, so that LLVM needs few checks for overlaps and turns the
loop into vector instructions. Only contractions to fused multiply-adds are allowed, and infinities
and NaNs propagate.
"""

# numba infers the types of these functions.
# mypy: ignore-errors
# ruff: noqa: D103

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from charlm.compiled import compiling
from charlm.recurrent.pointwise import RELU, SIGMOID, TANH

compiled = compiling(nogil=True, error_model="numpy", fastmath={"contract"})

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
# Beyond it the fraction is 1 in float32.
LIMIT = np.float32(7.90531110763549805)
A1, A3, A5, A7, A9, A11, A13 = np.array(
    [
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    ],
    np.float32,
)
B0, B2, B4, B6 = np.array(
    [4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06],
    np.float32,
)


@compiled
def tanh(x):
    """A fraction of polynomials, as in Eigen; its largest error is 3e-7."""
    x = LIMIT if x > LIMIT else x  # NaN stays NaN
    x = -LIMIT if x < -LIMIT else x
    s = x * x
    above = ((((((A13 * s + A11) * s + A9) * s + A7) * s + A5) * s + A3) * s + A1) * x
    return above / (((B6 * s + B4) * s + B2) * s + B0)


@compiled
def sigmoid(x):
    """From tanh, with half its error."""
    return HALF + HALF * tanh(HALF * x)


@intrinsic
def _float_of_bits(typing, bits):
    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), build


@intrinsic
def _bits_of_float(typing, number):
    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), build


def load(row, j):
    """``row[j]`` as float32."""


def store(row, j, value):
    """Set ``row[j]`` to ``value``, rounded to the nearest number of the row's type."""


@overload(load, jit_options={"error_model": "numpy"})
def _load(row, j):
    if row.dtype is types.float32:
        return lambda row, j: row[j]
    return lambda row, j: _float_of_bits(np.uint32(row[j]) << np.uint32(16))


@overload(store, jit_options={"error_model": "numpy"})
def _store(row, j, value):
    def as_float32(row, j, value):
        row[j] = value

    def as_bfloat16(row, j, value):
        bits = _bits_of_float(value)
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        quiet = bits | np.uint32(0x400000)
        row[j] = (rounded if value == value else quiet) >> np.uint32(16)

    return as_float32 if row.dtype is types.float32 else as_bfloat16


@compiled
def add_rows(gradients, skip, chosen, sums):
    rows, gates, units = gradients.shape
    for row in range(rows):
        for k in range(skip, gates):
            g, s = gradients[row, k], sums[chosen[row], k - skip]
            for j in range(units):
                s[j] += load(g, j)


@compiled
def activate(activation, projected, chosen, product, hidden):
    rows, units = hidden.shape
    for row in range(rows):
        p, m, h = projected[chosen[row], 0], product[row], hidden[row]
        if activation == TANH:
            for j in range(units):
                h[j] = tanh(load(p, j) + load(m, j))
        elif activation == RELU:
            for j in range(units):
                x = load(p, j) + load(m, j)
                h[j] = ZERO if x <= ZERO else x
        elif activation == SIGMOID:
            for j in range(units):
                h[j] = sigmoid(load(p, j) + load(m, j))
        else:
            for j in range(units):
                h[j] = load(p, j) + load(m, j)


@compiled
def activate_backward(activation, hidden, by_output, by_later, by_projected):
    rows, units = hidden.shape
    for row in range(rows):
        h, go, gl, d = hidden[row], by_output[row], by_later[row], by_projected[row]
        if activation == TANH:
            for j in range(units):
                store(d, j, (go[j] + load(gl, j)) * (ONE - h[j] * h[j]))
        elif activation == RELU:
            for j in range(units):
                store(d, j, ZERO if h[j] <= ZERO else go[j] + load(gl, j))
        elif activation == SIGMOID:
            for j in range(units):
                store(d, j, (go[j] + load(gl, j)) * h[j] * (ONE - h[j]))
        else:
            for j in range(units):
                store(d, j, go[j] + load(gl, j))


@compiled
def gru_gates(projected, chosen, product, before, gates, reset_hidden):
    rows, _, units = gates.shape
    for row in range(rows):
        b, rh = before[row], reset_hidden[row]
        for k in range(2):
            p, m, g = projected[chosen[row], k], product[row, k], gates[row, k]
            for j in range(units):
                g[j] = sigmoid(load(p, j) + load(m, j))
        r = gates[row, 0]
        for j in range(units):
            rh[j] = r[j] * b[j]


@compiled
def gru_candidate(projected, chosen, product, before, gates, hidden):
    rows, units = hidden.shape
    for row in range(rows):
        p, m, b, h = projected[chosen[row], 2], product[row], before[row], hidden[row]
        z, n = gates[row, 1], gates[row, 2]
        for j in range(units):
            n[j] = tanh(load(p, j) + load(m, j))
        for j in range(units):
            h[j] = n[j] + z[j] * (b[j] - n[j])


@compiled
def gru_candidate_backward(gates, before, by_output, by_later, direct, by_projected):
    rows, units = before.shape
    for row in range(rows):
        z, n, b = gates[row, 1], gates[row, 2], before[row]
        go, gl, c = by_output[row], by_later[row], direct[row]
        dz, dn = by_projected[row, 1], by_projected[row, 2]
        for j in range(units):
            c[j] += go[j] + load(gl, j)
        for j in range(units):
            store(dn, j, c[j] * (ONE - z[j]) * (ONE - n[j] * n[j]))
        for j in range(units):
            store(dz, j, c[j] * (b[j] - n[j]) * z[j] * (ONE - z[j]))
        for j in range(units):
            c[j] *= z[j]


@compiled
def gru_gates_backward(gates, before, by_reset_hidden, direct, by_projected):
    rows, units = before.shape
    for row in range(rows):
        r, b, g = gates[row, 0], before[row], by_reset_hidden[row]
        dr, c = by_projected[row, 0], direct[row]
        for j in range(units):
            store(dr, j, load(g, j) * b[j] * r[j] * (ONE - r[j]))
        for j in range(units):
            c[j] += load(g, j) * r[j]


@compiled
def gru_after(projected, chosen, product, bias, before, gates, hidden):
    rows, units = hidden.shape
    for row in range(rows):
        for k in range(2):
            p, m, g = projected[chosen[row], k], product[row, k], gates[row, k]
            for j in range(units):
                g[j] = sigmoid(load(p, j) + load(m, j))
        p, m, b, h = projected[chosen[row], 2], product[row, 2], before[row], hidden[row]
        r, z, n, q = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        for j in range(units):
            q[j] = load(m, j) + bias[j]
        for j in range(units):
            n[j] = load(p, j) + r[j] * q[j]
        for j in range(units):  # in one loop with the sum, LLVM would not vectorise it
            n[j] = tanh(n[j])
        for j in range(units):
            h[j] = n[j] + z[j] * (b[j] - n[j])


@compiled
def gru_after_backward(gates, before, by_output, by_later, direct, by_gates):
    rows, units = before.shape
    for row in range(rows):
        r, z, n, q = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        b, go, gl, c = before[row], by_output[row], by_later[row], direct[row]
        dq, dr, dz, dn = by_gates[row, 0], by_gates[row, 1], by_gates[row, 2], by_gates[row, 3]
        for j in range(units):
            c[j] += go[j] + load(gl, j)
        for j in range(units):
            store(dz, j, c[j] * (b[j] - n[j]) * z[j] * (ONE - z[j]))
        for j in range(units):
            store(dn, j, c[j] * (ONE - z[j]) * (ONE - n[j] * n[j]))
        for j in range(units):
            c[j] *= z[j]
        for j in range(units):
            store(dq, j, load(dn, j) * r[j])
        for j in range(units):
            store(dr, j, load(dn, j) * q[j] * r[j] * (ONE - r[j]))


@compiled
def lstm(projected, chosen, product, before, gates, cells, hidden):
    rows, units = hidden.shape
    for row in range(rows):
        b, c, h = before[row], cells[row], hidden[row]
        i, f, g, o = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        for k in (0, 1, 3):
            p, m, gate = projected[chosen[row], k], product[row, k], gates[row, k]
            for j in range(units):
                gate[j] = sigmoid(load(p, j) + load(m, j))
        p, m = projected[chosen[row], 2], product[row, 2]
        for j in range(units):
            g[j] = tanh(load(p, j) + load(m, j))
        for j in range(units):
            c[j] = f[j] * b[j] + i[j] * g[j]
        for j in range(units):
            h[j] = o[j] * tanh(c[j])


@compiled
def lstm_backward(gates, before, cells, by_output, by_later, by_cell, by_projected):
    rows, units = cells.shape
    for row in range(rows):
        b, c, d = before[row], cells[row], by_cell[row]
        i, f, g, o = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        go, gl, dp = by_output[row], by_later[row], by_projected[row]
        di, df, dg, do = dp[0], dp[1], dp[2], dp[3]
        for j in range(units):
            squashed = tanh(c[j])
            d[j] += (go[j] + load(gl, j)) * o[j] * (ONE - squashed * squashed)
        for j in range(units):
            squashed = tanh(c[j])
            store(do, j, (go[j] + load(gl, j)) * squashed * o[j] * (ONE - o[j]))
        for j in range(units):
            store(di, j, d[j] * g[j] * i[j] * (ONE - i[j]))
        for j in range(units):
            store(df, j, d[j] * b[j] * f[j] * (ONE - f[j]))
        for j in range(units):
            store(dg, j, d[j] * i[j] * (ONE - g[j] * g[j]))
        for j in range(units):
            d[j] *= f[j]


@compiled
def lstm_peephole(projected, chosen, product, peepholes, before, gates, cells, hidden):
    rows, units = hidden.shape
    for row in range(rows):
        b, c, h = before[row], cells[row], hidden[row]
        i, f, g, o = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        for k in range(2):
            p, m, gate, peephole = (
                projected[chosen[row], k],
                product[row, k],
                gates[row, k],
                peepholes[k],
            )
            for j in range(units):
                gate[j] = sigmoid(load(p, j) + load(m, j) + peephole[j] * b[j])
        p, m = projected[chosen[row], 2], product[row, 2]
        for j in range(units):
            g[j] = tanh(load(p, j) + load(m, j))
        for j in range(units):
            c[j] = f[j] * b[j] + i[j] * g[j]
        p, m, peephole = projected[chosen[row], 3], product[row, 3], peepholes[2]
        for j in range(units):
            o[j] = sigmoid(load(p, j) + load(m, j) + peephole[j] * c[j])
        for j in range(units):
            h[j] = o[j] * tanh(c[j])


@compiled
def lstm_peephole_backward(
    gates, peepholes, before, cells, by_output, by_later, by_cell, by_projected
):
    rows, units = cells.shape
    for row in range(rows):
        b, c, d = before[row], cells[row], by_cell[row]
        i, f, g, o = gates[row, 0], gates[row, 1], gates[row, 2], gates[row, 3]
        go, gl, dp = by_output[row], by_later[row], by_projected[row]
        di, df, dg, do = dp[0], dp[1], dp[2], dp[3]
        to_i, to_f, to_o = peepholes[0], peepholes[1], peepholes[2]
        for j in range(units):
            squashed = tanh(c[j])
            store(do, j, (go[j] + load(gl, j)) * squashed * o[j] * (ONE - o[j]))
        for j in range(units):
            squashed = tanh(c[j])
            d[j] += (go[j] + load(gl, j)) * o[j] * (ONE - squashed * squashed)
        for j in range(units):
            d[j] += load(do, j) * to_o[j]
        for j in range(units):
            store(di, j, d[j] * g[j] * i[j] * (ONE - i[j]))
        for j in range(units):
            store(df, j, d[j] * b[j] * f[j] * (ONE - f[j]))
        for j in range(units):
            store(dg, j, d[j] * i[j] * (ONE - g[j] * g[j]))
        for j in range(units):
            d[j] = d[j] * f[j] + load(di, j) * to_i[j] + load(df, j) * to_f[j]
