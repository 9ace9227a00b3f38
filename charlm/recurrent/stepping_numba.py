"""One step of recurrent layers on plain arrays, compiled by numba.

A call of torch takes longer than the arithmetic of a small layer in a single step. Here a step of
all layers is one compiled function, which other compiled functions call for each character of a
text. The readable twin of each cell is its ``step`` method.

Symbols in shapes: L layers, B rows, I input, H hidden, O output, G gates.
"""

# Numba types these functions, mypy does not.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
from numba import njit

from charlm.recurrent.pointwise_numba import ZERO, compiled, sigmoid, tanh
from charlm.recurrent.stepping import (
    GRU,
    GRU_RESET_BEFORE,
    JORDAN,
    LINE,
    LSTM_PEEPHOLE,
    RNN,
    RNN_RELU,
)

# These are compiled with their callers only.
inlined = njit(inline="always", nogil=True, error_model="numpy", fastmath={"contract"})


@inlined
def step(layers, weights, states, tokens, vectors):
    """One step of all layers, which replaces the states.

    Args:
        layers, weights: (L, 6) and the values of `charlm.recurrent.stepping.Weights`.
        states: as of `charlm.recurrent.stepping.state_array`.
        tokens: (B,) int64 ids.
        vectors: (B, E) that layers read in place of the tokens; (B, 0): they read tokens.

    Returns:
        The (B, O) outputs of the top layer; with skip connections, those of all layers.
    """
    rows = len(tokens)
    at, state_at = 0, 0
    below = np.empty((rows, 0), np.float32)
    every, done = np.empty((rows, layers[:, 4].sum()), np.float32), 0
    for layer in range(len(layers)):
        kind, gates, inputs, size, output_size, adds = layers[layer]
        width = gates * size
        # The part of the inputs.
        given = np.empty((rows, width), np.float32)
        if inputs and not vectors.shape[1]:
            table, at = _matrix(weights, at, inputs, width)
            for row in range(rows):
                _copy(table[tokens[row]], given[row])
        else:
            bias, at = _matrix(weights, at, 1, width)
            _copy_to_rows(bias[0], given)
            matrix, at = _matrix(weights, at, inputs, width)
            if inputs:
                add_product(vectors, matrix, given)
        matrix, at = _matrix(weights, at, below.shape[1], width)
        add_product(below, matrix, given)
        # The part of the last outputs, which is added to it, but kept apart in a GRU.
        outputs, state_at = _matrix(states, state_at, rows, output_size)
        added = given
        if kind == GRU:
            added = np.empty((rows, width), np.float32)
            bias, at = _matrix(weights, at, 1, width)
            _copy_to_rows(bias[0], added)
        elif kind == GRU_RESET_BEFORE:
            added = np.empty((rows, 2 * size), np.float32)
            for row in range(rows):
                _copy(given[row], added[row])
        matrix, at = _matrix(weights, at, output_size, added.shape[1])
        add_product(outputs, matrix, added)
        # Two cells have a second product.
        source, target = given, outputs
        if kind == GRU_RESET_BEFORE:
            source = np.empty((rows, size), np.float32)
            target = np.empty((rows, size), np.float32)
            for row in range(rows):
                _copy(given[row, 2 * size :], target[row])
                y, h, kept = added[row], outputs[row], source[row]
                for j in range(size):
                    kept[j] = sigmoid(y[j]) * h[j]
        elif kind == JORDAN:
            bias, at = _matrix(weights, at, 1, output_size)
            _tanh_rows(given, given)
            _copy_to_rows(bias[0], outputs)
        if kind in (GRU_RESET_BEFORE, JORDAN):
            matrix, at = _matrix(weights, at, size, output_size)
            add_product(source, matrix, target)
        # The next state.
        if kind == RNN:
            _tanh_rows(given, outputs)
        elif kind == JORDAN:
            _tanh_rows(outputs, outputs)
        elif kind == RNN_RELU:
            for row in range(rows):
                x, h = given[row], outputs[row]
                for j in range(size):
                    h[j] = ZERO if x[j] <= ZERO else x[j]
        elif kind == GRU:
            _gru(given, added, outputs)
        elif kind == GRU_RESET_BEFORE:
            for row in range(rows):
                y, n, h = added[row], target[row], outputs[row]
                for j in range(size):
                    new = tanh(n[j])
                    h[j] = new + sigmoid(y[size + j]) * (h[j] - new)
        else:
            cells, state_at = _matrix(states, state_at, rows, size)
            peepholes = np.zeros((3, size), np.float32)
            if kind == LSTM_PEEPHOLE:
                peepholes, at = _matrix(weights, at, 3, size)
            _lstm(given, outputs, cells, peepholes)
        # The output, which also is a part of that of a stack with skip connections.
        here = every[:, done : done + output_size]
        for row in range(rows):
            for j in range(output_size):
                here[row, j] = outputs[row, j] + (below[row, j] if adds else ZERO)
        done += output_size
        below = np.ascontiguousarray(here)
    return every if len(layers) > 1 and layers[1, 2] else below


@compiled
def _matrix(weights, at, rows, columns):
    """The (rows, columns) weights from ``at`` on, and where the next ones begin."""
    end = at + rows * columns
    return weights[at:end].reshape(rows, columns), end + -end % LINE


@compiled
def _copy(numbers, to):
    for j in range(len(to)):
        to[j] = numbers[j]


@compiled
def _copy_to_rows(numbers, rows):
    for row in range(len(rows)):
        _copy(numbers, rows[row])


@compiled
def _tanh_rows(xs, ys):
    for row in range(len(xs)):
        x, y = xs[row], ys[row]
        for j in range(len(x)):
            y[j] = tanh(x[j])


@inlined
def _gru(given, recurrent, hidden):
    """(B, 3H) of the inputs and of the last outputs; the (B, H) hidden state is replaced."""
    size = hidden.shape[1]
    for row in range(len(hidden)):
        x, y, h = given[row], recurrent[row], hidden[row]
        for j in range(size):
            reset = sigmoid(x[j] + y[j])
            update = sigmoid(x[size + j] + y[size + j])
            candidate = tanh(x[2 * size + j] + reset * y[2 * size + j])
            h[j] = candidate + update * (h[j] - candidate)


@inlined
def _lstm(gates, hidden, cells, peepholes):
    """(B, 4H) gates before their sigmoids, (3, H) peepholes; the (B, H) states are replaced."""
    size = hidden.shape[1]
    to_input, to_forget, to_output = peepholes[0], peepholes[1], peepholes[2]
    for row in range(len(hidden)):
        x, h, c = gates[row], hidden[row], cells[row]
        for j in range(size):
            old = c[j]
            new = sigmoid(x[size + j] + to_forget[j] * old) * old
            new += sigmoid(x[j] + to_input[j] * old) * tanh(x[2 * size + j])
            c[j] = new
            h[j] = sigmoid(x[3 * size + j] + to_output[j] * new) * tanh(new)


@compiled
def add_product(xs, weights, ys):
    """Add the product of (B, I) inputs and (I, N) weights to ``ys``, (B, N).

    Each number of ``ys`` is read and written once for 8 rows of weights, and these are read once
    for 4 rows of inputs. Torch's product is as fast for 64 inputs, and slower for fewer.
    """
    whole = len(xs) - len(xs) % 4
    for row in range(0, whole, 4):
        _add_products_of_four(xs[row : row + 4], weights, ys[row : row + 4])
    for row in range(whole, len(xs)):
        _add_product_of_one(xs[row], weights, ys[row])


@compiled
def _add_product_of_one(x, w, y):
    whole = len(w) - len(w) % 8
    for k in range(0, whole, 8):
        a, b, c, d, e, f, g, h = (
            x[k],
            x[k + 1],
            x[k + 2],
            x[k + 3],
            x[k + 4],
            x[k + 5],
            x[k + 6],
            x[k + 7],
        )
        p, q, r, s, t, u, v, z = (
            w[k],
            w[k + 1],
            w[k + 2],
            w[k + 3],
            w[k + 4],
            w[k + 5],
            w[k + 6],
            w[k + 7],
        )
        for j in range(len(y)):
            y[j] += (a * p[j] + b * q[j] + c * r[j] + d * s[j]) + (
                e * t[j] + f * u[j] + g * v[j] + h * z[j]
            )
    for k in range(whole, len(w)):
        for j in range(len(y)):
            y[j] += x[k] * w[k, j]


@compiled
def _add_products_of_four(xs, w, ys):
    x0, x1, x2, x3 = xs[0], xs[1], xs[2], xs[3]
    y0, y1, y2, y3 = ys[0], ys[1], ys[2], ys[3]
    whole = len(w) - len(w) % 8
    for k in range(0, whole, 8):
        a0, b0, c0, d0, e0, f0, g0, h0 = (
            x0[k],
            x0[k + 1],
            x0[k + 2],
            x0[k + 3],
            x0[k + 4],
            x0[k + 5],
            x0[k + 6],
            x0[k + 7],
        )
        a1, b1, c1, d1, e1, f1, g1, h1 = (
            x1[k],
            x1[k + 1],
            x1[k + 2],
            x1[k + 3],
            x1[k + 4],
            x1[k + 5],
            x1[k + 6],
            x1[k + 7],
        )
        a2, b2, c2, d2, e2, f2, g2, h2 = (
            x2[k],
            x2[k + 1],
            x2[k + 2],
            x2[k + 3],
            x2[k + 4],
            x2[k + 5],
            x2[k + 6],
            x2[k + 7],
        )
        a3, b3, c3, d3, e3, f3, g3, h3 = (
            x3[k],
            x3[k + 1],
            x3[k + 2],
            x3[k + 3],
            x3[k + 4],
            x3[k + 5],
            x3[k + 6],
            x3[k + 7],
        )
        w0, w1, w2, w3, w4, w5, w6, w7 = (
            w[k],
            w[k + 1],
            w[k + 2],
            w[k + 3],
            w[k + 4],
            w[k + 5],
            w[k + 6],
            w[k + 7],
        )
        for j in range(len(y0)):
            p, q, r, s, t, u, v, z = w0[j], w1[j], w2[j], w3[j], w4[j], w5[j], w6[j], w7[j]
            y0[j] += a0 * p + b0 * q + c0 * r + d0 * s + e0 * t + f0 * u + g0 * v + h0 * z
            y1[j] += a1 * p + b1 * q + c1 * r + d1 * s + e1 * t + f1 * u + g1 * v + h1 * z
            y2[j] += a2 * p + b2 * q + c2 * r + d2 * s + e2 * t + f2 * u + g2 * v + h2 * z
            y3[j] += a3 * p + b3 * q + c3 * r + d3 * s + e3 * t + f3 * u + g3 * v + h3 * z
    for k in range(whole, len(w)):
        for row in range(4):
            for j in range(len(y0)):
                ys[row, j] += xs[row, k] * w[k, j]
