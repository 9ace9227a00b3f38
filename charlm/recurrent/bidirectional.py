"""Two layers that read the same sequence, one in each direction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from charlm.recurrent.layer import RecurrentLayer
from charlm.recurrent.padding import reverse
from charlm.recurrent.states import BidirectionalState


class Bidirectional(RecurrentLayer):
    """The outputs of both directions at each step, concatenated.

    ::

        forward[t]  = the forward layer's output after x[1], ..., x[t]
        backward[t] = the backward layer's output after x[T], ..., x[t]
        y[t]        = forward[t], backward[t]

    Shapes: x (T, B, I), y (T, B, O_forward + O_backward). With lengths, T is each row's own.
    The backward layer's final state is the one after the first step. It needs the end of a
    sequence first, so a sequence cannot be read in parts.
    Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".
    """

    bidirectional = True

    def __init__(self, forward_layer: RecurrentLayer, backward_layer: RecurrentLayer) -> None:
        super().__init__()
        assert forward_layer.input_size == backward_layer.input_size
        self.forward_layer, self.backward_layer = forward_layer, backward_layer
        self.input_size = forward_layer.input_size
        self.output_size = forward_layer.output_size + backward_layer.output_size

    def initial_state(self, batch_size: int) -> BidirectionalState:
        """The initial states of both directions."""
        layers = (self.forward_layer, self.backward_layer)
        return BidirectionalState(*(layer.initial_state(batch_size) for layer in layers))

    def forward(
        self, xs: Tensor, state: Any, lengths: Tensor | None = None, *, outputs_only: bool = False
    ) -> tuple[Tensor, BidirectionalState]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and both directions' final states."""
        options = {"lengths": lengths, "outputs_only": outputs_only}
        ahead, last_ahead = self.forward_layer(xs, state.forward, **options)  # checks the lengths
        xs = reverse(xs, lengths)
        back, last_back = self.backward_layer(xs, state.backward, **options)
        outputs = torch.cat([ahead, reverse(back, lengths)], dim=-1)
        return outputs, BidirectionalState(last_ahead, last_back)
