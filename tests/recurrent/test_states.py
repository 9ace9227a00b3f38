from __future__ import annotations

import pytest
import torch

from charlm.recurrent.states import (
    BidirectionalState,
    HiddenState,
    JordanState,
    LSTMState,
    map_state,
    state_tensors,
)

LSTM = LSTMState(torch.ones(2, 3), torch.zeros(2, 3))
BOTH = BidirectionalState(LSTM, JordanState(torch.ones(2, 4)))


def test_map_state_keeps_the_types_of_the_states():
    mapped = map_state(lambda tensor: tensor[:1] + 1, (HiddenState(torch.ones(2, 3)), LSTM))
    assert [type(state) for state in mapped] == [HiddenState, LSTMState]
    assert [float(tensor.mean()) for tensor in state_tensors(mapped)] == [2, 2, 1]
    assert mapped[1].cell.shape == (1, 3)


def test_map_state_takes_nested_states_and_several_at_once():
    (joined,) = map_state(lambda *parts: torch.cat(parts), (BOTH,), (BOTH,), (BOTH,))
    wanted = BidirectionalState(
        LSTMState(torch.ones(6, 3), torch.zeros(6, 3)), JordanState(torch.ones(6, 4))
    )
    torch.testing.assert_close(joined, wanted)
    assert [type(state) for state in joined] == [LSTMState, JordanState]
    with pytest.raises(ValueError, match="shorter"):
        map_state(torch.add, (BOTH, BOTH), (BOTH,))


def test_the_tensors_of_a_state_are_in_order():
    found = state_tensors((BOTH, LSTM))
    wanted = [*BOTH.forward, *BOTH.backward, *LSTM]
    assert all(ours is theirs for ours, theirs in zip(found, wanted, strict=True))
