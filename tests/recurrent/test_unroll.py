"""The fast way through a sequence against the slow one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from charlm.recurrent.cells import CELLS
from charlm.recurrent.states import map_state
from charlm.recurrent.unroll import Unrolled

STEPS, BATCH, INPUTS, HIDDEN = 9, 3, 5, 4

cells = pytest.mark.parametrize("name", CELLS)


def cell_of(name: str):
    cell = CELLS[name].scratch(input_size=INPUTS, hidden_size=HIDDEN).double()
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell


def random_state(cell):
    return map_state(torch.randn_like, cell.initial_state(BATCH))


def by_step(cell, xs, state, lengths=None):
    """The slow way: one step at a time, and padded rows one by one."""
    if lengths is not None:
        states = [map_state(lambda tensor, row=row: tensor[[row]], state) for row in range(BATCH)]
        rows = [
            by_step(cell, xs[:length, [row]], states[row])
            for row, length in enumerate(lengths.tolist())
        ]
        padded = [F.pad(output, (0, 0, 0, 0, 0, len(xs) - len(output))) for output, _ in rows]
        last = map_state(lambda *parts: torch.cat(parts), *(last for _, last in rows))
        return torch.cat(padded, dim=1), last
    outputs = []
    for x in xs:  # (B, I) or (B,)
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs), state


@cells
@pytest.mark.parametrize(
    "lengths", [None, [9, 1, 4], [1, 9, 9], [3, 3, 2], [9, 9, 9], [1, 1, 1]], ids=str
)
@pytest.mark.parametrize("ids", [False, True], ids=["features", "ids"])
def test_all_steps_at_once_are_one_step_at_a_time(name, lengths, ids, results):
    cell = cell_of(name)
    first, lengths = random_state(cell), None if lengths is None else torch.tensor(lengths)
    for steps in (STEPS,) if lengths is not None else (1, 2, STEPS):
        xs = torch.randn(steps, BATCH, INPUTS).double()
        if ids:
            xs = torch.randint(INPUTS, (steps, BATCH))
        fast = results(partial(Unrolled(cell), lengths=lengths), cell, xs, first)
        slow = results(partial(by_step, cell, lengths=lengths), cell, xs, first)
        assert fast[0].shape == (steps, BATCH, HIDDEN)
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
