"""Two layers that read the same sequence, one in each direction."""

from __future__ import annotations

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

    Shapes: x (T, B, I), y (T, B, O_forward + O_backward). With lengths, T is each row's own: the
    backward layer begins at the row's last valid step, and its final state is the one after the
    first step.
    Schuster and Paliwal (1997), "Bidirectional recurrent neural networks".

    A sequence cannot be read in parts, because the backward layer needs its end first.
    """

    bidirectional = True

    def __init__(self, forward_layer: RecurrentLayer, backward_layer: RecurrentLayer) -> None:
        super().__init__()
        assert forward_layer.input_size == backward_layer.input_size
        self.forward_layer, self.backward_layer = forward_layer, backward_layer
        self.input_size = forward_layer.input_size
        self.output_size = forward_layer.output_size + backward_layer.output_size
        self.recurrent_weights = tuple(
            f"{name}.{weight}"
            for name, layer in (
                ("forward_layer", forward_layer),
                ("backward_layer", backward_layer),
            )
            for weight in layer.recurrent_weights
        )

    def initial_state(self, batch_size: int) -> BidirectionalState:
        """The initial states of both directions."""
        return BidirectionalState(
            self.forward_layer.initial_state(batch_size),
            self.backward_layer.initial_state(batch_size),
        )

    def forward(
        self, xs: Tensor, state: BidirectionalState, lengths: Tensor | None = None
    ) -> tuple[Tensor, BidirectionalState]:
        """(T, B, I) or (T, B) token ids to (T, B, O) and both directions' final states."""
        ahead, last_ahead = self.forward_layer(xs, state.forward, lengths)  # checks the lengths
        back, last_back = self.backward_layer(reverse(xs, lengths), state.backward, lengths)
        outputs = torch.cat([ahead, reverse(back, lengths)], dim=-1)
        return outputs, BidirectionalState(last_ahead, last_back)

    def outputs(
        self, xs: Tensor, state: BidirectionalState, lengths: Tensor | None = None
    ) -> Tensor:
        """(T, B, I) or (T, B) token ids to (T, B, O)."""
        ahead = self.forward_layer.outputs(xs, state.forward, lengths)
        back = self.backward_layer.outputs(reverse(xs, lengths), state.backward, lengths)
        return torch.cat([ahead, reverse(back, lengths)], dim=-1)
