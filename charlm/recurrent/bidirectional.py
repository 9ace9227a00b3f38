"""Two layers that read the same sequence, one in each direction."""

from __future__ import annotations

import torch
from torch import Tensor

from charlm.recurrent.core import BidirectionalState, LayerState, RecurrentLayer
from charlm.recurrent.padding import reverse


class Bidirectional(RecurrentLayer):
    """The outputs of both directions at each step, side by side.

    ::

        forward[t]  = what the first layer gives after x[1], ..., x[t]
        backward[t] = what the second layer gives after x[T], ..., x[t]
        y[t]        = forward[t], backward[t]

    Shapes: x (T, B, I), y (T, B, O_forward + O_backward). T is each row's own where lengths are
    given: the second layer begins at its last valid step, and its final state is the one after
    the first step.
    Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".

    A sequence cannot be read in parts: the second layer needs its end first.
    """

    def __init__(self, forward_layer: RecurrentLayer, backward_layer: RecurrentLayer) -> None:
        super().__init__()
        assert forward_layer.input_size == backward_layer.input_size
        self.forward_layer, self.backward_layer = forward_layer, backward_layer
        self.input_size = forward_layer.input_size
        self.output_size = forward_layer.output_size + backward_layer.output_size

    def initial_state(self, batch_size: int) -> BidirectionalState:
        """Zeros for each direction."""
        return BidirectionalState(
            self.forward_layer.initial_state(batch_size),
            self.backward_layer.initial_state(batch_size),
        )

    def forward(
        self,
        xs: Tensor,
        state: LayerState,
        lengths: Tensor | None = None,
        *,
        final_state: bool = True,
    ) -> tuple[Tensor, BidirectionalState]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and both directions' final states."""
        assert isinstance(state, BidirectionalState)
        ahead, last_ahead = self.forward_layer(  # it checks the lengths
            xs, state.forward, lengths, final_state=final_state
        )
        back, last_back = self.backward_layer(
            reverse(xs, lengths), state.backward, lengths, final_state=final_state
        )
        outputs = torch.cat([ahead, reverse(back, lengths)], dim=-1)
        return outputs, BidirectionalState(last_ahead, last_back)
