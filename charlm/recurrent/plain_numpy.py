"""Write text with a model that ``charlm export --numpy`` wrote. This file needs numpy alone.

    python plain_numpy.py novel.npz "The traveller " 300

The file has arrays and, as JSON, a list of operations. All of them together are one step: they
take the id of a character and the states, and give the logits of the next one and the next states.

Symbols in shapes: B texts side by side, V characters, I inputs, N outputs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

BASE, SPREAD = 1_000_003, -7_046_029_254_386_353_131  # of the hash of an n-gram


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), which does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def layer_norm(x: Any, gain: Any, eps: float) -> Any:
    """Each row of (B, N) with mean 0 and variance 1, times the (N,) gain."""
    centred = x - x.mean(1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(1, keepdims=True) + np.float32(eps))


def ngrams(table: Any, ids: Any, previous: Any, lengths: int, rows: int) -> Any:
    """The (B, N) sum of the vectors of the n-grams that end with the (B,) ids.

    ``previous`` are the (B, lengths) ids before. Each length has some rows of the table.
    """
    value, total = ids, 0
    for n in range(lengths):
        value = value * BASE + previous[:, lengths - 1 - n].astype(np.int64) + 1
        total = total + table[((value * SPREAD) >> 32) % rows + n * rows]
    return total


OPERATIONS: dict[str, Any] = {
    "gather": lambda table, ids: table[ids],  # (V, N) and (B,) to (B, N)
    "one_hot": lambda ids, size: np.eye(size, dtype=np.float32)[ids],  # (B,) to (B, V)
    "column": lambda ids: ids[:, None].astype(np.float32),  # (B,) to (B, 1)
    "ngrams": ngrams,
    "linear": lambda x, w, b=0: x @ w + b,  # (B, I), (I, N), and (N,) or (B, N)
    "linear_t": lambda x, w, b=0: x @ w.T + b,  # the same with w (N, I)
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "layer_norm": layer_norm,
    "slice": lambda x, start, end: x[:, start:end],
    "concat": lambda *parts: np.concatenate(parts, axis=1),
}


def step(model: dict[str, Any], arrays: dict[str, Any], ids: Any, states: list[Any]) -> Any:
    """(B,) ids and (B, ...) states to the (B, V) logits of the next characters and the states."""
    values = {**arrays, "ids": ids, **dict(zip(model["states"], states, strict=True))}
    for name, output, _size, inputs, numbers in model["operations"]:
        values[output] = OPERATIONS[name](*(values[each] for each in inputs), *numbers)
    return values[model["logits"]], [values[each] for each in model["next"]]


def first_states(model: dict[str, Any], rows: int) -> list[Any]:
    """The states before a text: zeros."""
    return [np.zeros((rows, size), np.float32) for size in model["states"].values()]


def generate(model: dict[str, Any], arrays: dict[str, Any], prefix: str, length: int) -> str:
    """A text of ``length`` characters after a prefix, with the temperature 1."""
    characters, random = model["characters"], np.random.default_rng()
    ids = [characters.index(each) + 1 if each in characters else 0 for each in prefix]
    states, text = first_states(model, 1), prefix
    for _ in range(length):
        for id in ids or model["start"]:
            logits, states = step(model, arrays, np.array([id]), states)
        odds = np.exp(logits[0].astype(float) - logits.max())
        odds[0] = 0  # the id 0 stands for all other characters, and is never chosen
        ids = [int(random.choice(len(odds), p=odds / odds.sum()))]
        text += characters[ids[0] - 1]
    return text


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    model = json.loads(arrays.pop("model.json").tobytes())
    print(generate(model, arrays, sys.argv[2], int(sys.argv[3])))
