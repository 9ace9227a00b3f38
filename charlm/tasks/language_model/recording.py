"""The values of every unit of a language model while it reads a text.

A unit is one number of a state, such as of an LSTM's hidden state or of its cell.

Letters in the shape comments: T characters of the text, R rows of L characters that are read side
by side, H units of one part of a layer's state, B batch, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import StackState, map_state, named_tensors
from charlm.tasks.language_model.batches import PADDING
from charlm.tasks.language_model.model import LanguageModel

ROWS = 32  # that are read side by side
SHORTEST = 128  # characters of a row

Floats = NDArray[np.float64]


class Unit(NamedTuple):
    """The place of a unit. It is written as ``1.hidden.17``."""

    layer: int  # from 1, the lowest
    part: str  # of the state, such as hidden or cell
    number: int  # from 0

    def __str__(self) -> str:
        return f"{self.layer}.{self.part}.{self.number}"


class Recording(NamedTuple):
    """What a model computed while it read a text of T = R * L characters."""

    values: Mapping[tuple[int, str], NDArray[np.float32]]  # (T, H) of a layer and part
    nats: Floats  # (T,) of the next character; NaN for the last
    ids: Tensor  # (L + 1, R) int64; PADDING after the last
    starts: StackState  # before each of the R rows

    def of(self, unit: Unit) -> NDArray[np.float32]:
        """(T,) values of one unit."""
        return self.values[unit.layer, unit.part][:, unit.number]


def record(
    model: LanguageModel, ids: Tensor, *, should_stop: Callable[[], bool] = lambda: False
) -> Recording:
    """The states of all layers after each character of a text, which begins with a zero state.

    One pass over the text, as fast as the layers can, gives the state before each of R rows. From
    there all rows are read side by side, one character at a time, which shows every state.

    Args:
        ids: (N,) integers, N >= 2; up to 31 characters at the end are left out, so that the
            rows are of the same length.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    number = max(1, min(ROWS, len(ids) // SHORTEST))
    length = len(ids) // number
    rows = ids[: number * length].long().view(number, length).T  # (L, R)
    rows = rows.to(model.head.weight.device)
    layers = len(model.stack.layers)
    parts: dict[tuple[int, str], Tensor] = {}
    with torch.no_grad(), evaluating(model):
        states = [model.initial_state(1)]
        for row in range(number - 1):
            if should_stop():
                raise Stopped
            states.append(model.read(rows[:, row : row + 1], states[-1]))
        starts = map_state(lambda *each: torch.cat(each), *states)
        following = torch.cat(
            [rows[0, 1:], rows.new_full((1,), PADDING)]
        )  # the next rows' first ids
        targets = torch.cat([rows, following.unsqueeze(0)])  # (L + 1, R)
        state, nats = starts, []
        for step in range(length):
            if should_stop():
                raise Stopped
            logits, state = model(rows[step : step + 1], state)
            nats.append(next_nats(logits[0], targets[step + 1]))
            for name, tensor in named_tensors(state[:layers]).items():
                layer, part = name.split(".")
                key = (int(layer) + 1, part)
                if key not in parts:
                    parts[key] = torch.empty(number, length, tensor.shape[1])
                parts[key][:, step] = tensor.float()
    costs = torch.stack(nats, dim=1).flatten().double().numpy()
    costs[-1] = math.nan
    values = {key: part.flatten(0, 1).numpy() for key, part in parts.items()}
    return Recording(values, costs, targets, starts)


def next_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, V) logits and (B,) ids to (B,) nats, on the CPU."""
    return F.cross_entropy(logits.float(), targets, reduction="none").cpu()
