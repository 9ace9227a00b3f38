"""What a unit of a language model is worth: the cost of holding it at one value.

Letters in the shape comments: R rows of L characters, C clamps, B = C R rows that are read side by
side, T = R L characters, H units of a part of a layer's state.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.recording import Floats, Recording, Unit, next_nats

WIDE = 256  # rows that are read side by side
CHARACTERS = 5000  # with each unit held
RANDOM = 9  # units
LEAST = 0.01  # bits per character that are more than noise


class Cost(NamedTuple):
    """The bits per predicted character that a text costs more while a unit is held."""

    held_at: float
    places: int  # after which the feature speaks
    everywhere: float
    there: float | None  # at those places; None: there is none
    elsewhere: float | None
    random: float | None  # the median of random units, at those places
    most: float | None  # the largest of theirs

    @property
    def matters(self) -> bool:
        """Whether the predictions at the places of the feature use the unit."""
        return self.there is not None and self.there > max(LEAST, self.most or 0.0)


class Clamp(NamedTuple):
    """A unit that is held at a value."""

    unit: Unit
    value: float


def clamped_nats(
    model: LanguageModel,
    recording: Recording,
    rows: Sequence[int],
    clamps: Sequence[Clamp],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Floats:
    """The nats of the next characters in some rows of a text, (C, T), with each of the clamps.

    After every step the unit has the value: the next step sees it, and where the unit is an output
    of its layer, the layers above and the output layer see it too. The cell of an LSTM is held
    between the steps, so that what a step itself adds to it still reaches the output. Each row
    starts with the state that the model had there without a clamp.

    Args:
        recording: of the same model.
        rows: the numbers of its rows.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    chosen = torch.tensor(rows, device=recording.ids.device)
    ids = recording.ids[:, chosen]  # (L + 1, R)
    starts = map_state(lambda each: each[chosen], recording.starts)
    at_once = max(1, WIDE // len(rows))
    found = []
    for begin in range(0, len(clamps), at_once):
        group = clamps[begin : begin + at_once]
        nats = []
        held = _holding(model, group, len(rows))
        with torch.no_grad(), evaluating(held):
            state = map_state(lambda each: each.repeat(len(group), 1), starts)  # noqa: B023
            both = ids.repeat(1, len(group))  # (L + 1, B)
            for step in range(len(ids) - 1):
                if should_stop():
                    raise Stopped
                logits, state = held(both[step : step + 1], state)
                nats.append(next_nats(logits[0], both[step + 1]))
        found.append(torch.stack(nats, dim=1).view(len(group), -1))
    return torch.cat(found).double().numpy()


def costs(
    model: LanguageModel,
    recording: Recording,
    wanted: Sequence[tuple[Unit, NDArray[np.bool_]]],
    *,
    value: float | None = None,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Cost]:
    """The cost of holding each of some units, on the second half of a text.

    Beside it is the cost of random units of the same parts of the same layers, held at their means.

    Args:
        wanted: each unit with the (T,) places of its feature.
        value: at which they are held; None: the mean of each over the text.
        seed: of the choice of random units.

    Raises:
        Stopped: ``should_stop`` returned True.
    """
    length, number = len(recording.ids) - 1, recording.ids.shape[1]
    rows = [*range(number // 2, number)]
    rows = rows[:: -(-len(rows) * length // CHARACTERS)]
    chosen = np.concatenate([np.arange(row * length, (row + 1) * length) for row in rows])
    groups = sorted({(unit.layer, unit.part) for unit, _ in wanted})
    others = [Unit(*key, at) for key in groups for at in range(recording.values[key].shape[1])]
    others = [unit for unit in others if unit not in {each for each, _ in wanted}]
    order = np.random.default_rng(seed).permutation(len(others))[:RANDOM]
    units = [*(unit for unit, _ in wanted), *(others[at] for at in order)]
    clamps = [Clamp(unit, float(recording.of(unit).mean())) for unit in units]
    if value is not None:
        clamps[: len(wanted)] = [Clamp(unit, value) for unit, _ in wanted]
    nats = clamped_nats(model, recording, rows, clamps, should_stop=should_stop)
    more = (nats - recording.nats[chosen]) / math.log(2)  # (C, T)
    known = ~np.isnan(more[0])
    more, random = more[: len(wanted), known], more[len(wanted) :, known]
    found = []
    for clamp, bits, (_, places) in zip(clamps, more, wanted, strict=False):
        there = places[chosen][known]
        beside = random[:, there].mean(axis=1) if there.any() and len(random) else None
        found.append(
            Cost(
                clamp.value,
                int(there.sum()),
                float(bits.mean()),
                float(bits[there].mean()) if there.any() else None,
                float(bits[~there].mean()) if not there.all() else None,
                None if beside is None else float(np.median(beside)),
                None if beside is None else float(beside.max()),
            )
        )
    return found


def _holding(model: LanguageModel, clamps: Sequence[Clamp], rows: int) -> LanguageModel:
    """The model with the unit of each clamp held, in ``rows`` rows of the batch each.

    It is another module with the same weights: others may use the model meanwhile.
    """
    weights = {id(each): each for each in (*model.parameters(), *model.buffers())}
    held = copy.deepcopy(model, weights)
    for number, layer in enumerate(held.stack.layers, 1):
        places: dict[str, list[tuple[int, int, float]]] = {}
        for at, (unit, value) in enumerate(clamps):
            if unit.layer == number:
                batch = range(at * rows, (at + 1) * rows)
                places.setdefault(unit.part, []).extend((row, unit.number, value) for row in batch)
        if places:
            layer.register_forward_hook(partial(_hold, places))
    return held


def _hold(
    held: dict[str, list[tuple[int, int, float]]],
    layer: nn.Module,
    inputs: tuple[Any, ...],
    found: tuple[Tensor, Any],
) -> tuple[Tensor, Any]:
    """The (1, B, O) outputs and the state of a layer after a step, with its units held.

    Args:
        held: of each part of the state, rows of the batch, units, and their values.
    """
    outputs, state = found
    for part, places in held.items():
        before = getattr(state, part)
        rows, units, values = map(list, zip(*places, strict=True))
        after = before.clone()
        after[rows, units] = before.new_tensor(values)
        if torch.equal(before, outputs[0]):  # the part is also the output
            outputs = after.unsqueeze(0)
        state = state._replace(**{part: after})
    return outputs, state
