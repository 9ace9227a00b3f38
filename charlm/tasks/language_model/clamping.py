"""What a unit of a language model is worth: the cost of holding it at one value.

Letters in the shape comments: R rows of L characters, C clamps, B = C R rows that are read side by
side, T = R L characters, H units of a part of a layer's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import map_state
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.units import Floats, Recording, Unit, next_nats

WIDE = 256  # rows that are read side by side


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
    starts = map_state(lambda each: each[chosen.to(each.device)], recording.starts)
    at_once = max(1, WIDE // len(rows))
    found = []
    for begin in range(0, len(clamps), at_once):
        group = clamps[begin : begin + at_once]
        nats = []
        with torch.no_grad(), evaluating(model), _held(model, group, len(rows)):
            state = map_state(lambda each: each.repeat(len(group), 1), starts)  # noqa: B023
            both = ids.repeat(1, len(group))  # (L + 1, B)
            for step in range(len(ids) - 1):
                if should_stop():
                    raise Stopped
                logits, state = model(both[step : step + 1], state)
                nats.append(next_nats(logits[0], both[step + 1]))
        found.append(torch.stack(nats, dim=1).view(len(group), -1))
    return torch.cat(found).double().numpy()


@contextmanager
def _held(model: LanguageModel, clamps: Sequence[Clamp], rows: int) -> Iterator[None]:
    """Hold the unit of each clamp inside the block, in ``rows`` rows of the batch each."""
    handles = []
    try:
        for number, layer in enumerate(model.stack.layers, 1):
            if any(each.unit.layer == number for each in clamps):
                hook = partial(_hold, [each.unit.layer == number and each for each in clamps], rows)
                handles.append(layer.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hold(
    clamps: Sequence[Clamp | bool],
    rows: int,
    layer: nn.Module,
    inputs: tuple[Any, ...],
    found: tuple[Tensor, Any],
) -> tuple[Tensor, Any]:
    """The (1, B, O) outputs and the state of a layer with its units held."""
    outputs, state = found
    changed = {}
    for name, tensor in state._asdict().items():
        held = tensor.clone()
        for number, clamp in enumerate(clamps):
            if isinstance(clamp, Clamp) and clamp.unit.part == name:
                held[number * rows : (number + 1) * rows, clamp.unit.index] = clamp.value
        if torch.equal(tensor, outputs[0]):  # a part of the state that is also the output
            outputs = held.unsqueeze(0)
        changed[name] = held
    return outputs, type(state)(**changed)
