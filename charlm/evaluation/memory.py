"""How far back a model remembers: how much each character read still moves the hidden state.

T steps, B positions, K distances, N characters, H hidden, S units of the whole state, E input
vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from charlm.errors import Stopped
from charlm.models.language_model import LanguageModel
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.core import StackState, map_state

THRESHOLD = 0.01  # of the norm at k = 0: what falls below it counts as forgotten
WARM_UP = 512  # characters read before those that are differentiated
LIMIT = 2**25  # entries of the Jacobians held at once


@dataclass(frozen=True)
class Memory:
    """Frobenius norms of the Jacobians d h_t / d x_(t-k).

    Attributes:
        positions: (B,) the t, as indices into the text.
        norms: (K + 1, B) float64, for k = 0, ..., K.
        lower, median, upper: (K + 1,) quartiles over the positions.
    """

    positions: list[int]
    norms: Tensor

    @property
    def lower(self) -> list[float]:
        """A quarter of the positions is below."""
        return self._quantile(0.25)

    @property
    def median(self) -> list[float]:
        """Half of the positions are below."""
        return self._quantile(0.5)

    @property
    def upper(self) -> list[float]:
        """Three quarters of the positions are below."""
        return self._quantile(0.75)

    @property
    def distances(self) -> int:
        """K, the furthest distance in characters."""
        return len(self.norms) - 1

    @property
    def forgotten(self) -> int | None:
        """The distance from which on the median is below 1% of that at k = 0.

        None where it still is not at the furthest distance.
        """
        median = self.median
        above = [k for k, norm in enumerate(median) if norm >= THRESHOLD * median[0]]
        first_below = max(above, default=-1) + 1
        return first_below if first_below <= self.distances else None

    def _quantile(self, share: float) -> list[float]:
        return self.norms.quantile(share, dim=1).tolist()


def memory(
    model: LanguageModel,
    ids: Tensor,
    *,
    distances: int = 100,
    positions: int = 16,
    should_stop: Callable[[], bool] = lambda: False,
) -> Memory:
    """The exact Jacobians of the top layer's output with respect to each vector read before it.

    ::

        d h_t / d x_(t-k) = (d h_t / d s_(t-k)) (d s_(t-k) / d x_(t-k))

    where x is what the stack reads, an embedding or a one-hot vector, and s the state of all
    layers: with it, a step needs nothing else of the past, so the first factor goes back in time
    step by step, for all units of h_t at once. Bengio, Simard and Frasconi (1994), "Learning
    long-term dependencies with gradient descent is difficult".

    The positions t are spread evenly over the text. Each has read the same number of characters
    before its t - ``distances``, 512 of them or, in a short text, up to half of what there is.

    Args:
        model: on the CPU, in any mode; it is in the same mode afterwards, its weights as before.
        ids: (N,) int64, N >= 3.
        distances: K, in characters; no more than half of the text.
        positions: B; fewer where the text has fewer.
        should_stop: asked before each step back.

    Raises:
        Stopped: ``should_stop`` said so; the model is as it was.
        ValueError: fewer than three characters, or less than one distance or position.
    """
    if len(ids) < 3 or distances < 1 or positions < 1:
        raise ValueError("it takes three characters, a distance and a position at least")
    distances = min(distances, (len(ids) - 1) // 2)
    warm_up = min(WARM_UP, (len(ids) - 1 - distances) // 2)
    first, last = warm_up + distances, len(ids) - 1
    ends = torch.linspace(first, last, min(positions, last - first + 1), dtype=torch.float64)
    ends = ends.round().long()  # (B,)
    steps = torch.arange(-first, 1).unsqueeze(1)  # (T, 1)
    state = model.initial_state(1)
    units = sum(tensor.shape[1] for tensor in _tensors(state))
    inputs = model.embedding.embedding_dim if model.embedding else model.vocabulary_size
    rows = max(1, LIMIT // (model.stack.output_size * (units + inputs)))
    with evaluating(model), _without_onednn():
        norms = [
            _norms(model, ids[group + steps], distances, should_stop)
            for group in torch.split(ends, rows)
        ]
    return Memory(ends.tolist(), torch.cat(norms, dim=1))


def _norms(
    model: LanguageModel, ids: Tensor, distances: int, should_stop: Callable[[], bool]
) -> Tensor:
    """(T, B) token ids to (K + 1, B) norms at their ends."""
    weights = {name: weight.detach() for name, weight in model.stack.named_parameters()}
    states: list[StackState] = []  # before each of the last K + 1 steps
    with torch.no_grad():
        state = model.initial_state(ids.shape[1])
        for begin, read in enumerate(ids):
            if begin >= len(ids) - distances - 1:
                states.append(state)
            _, state = model.stack(_vectors(model, read).unsqueeze(0), state)
    # d h_t / d s_t: the output is a part of the top layer's state, its first.
    units = model.stack.output_size
    jacobian = [tensor.new_zeros(units, *tensor.shape) for tensor in _tensors(state)]  # (H, B, S)
    jacobian[-len(state[-1])] += torch.eye(units).unsqueeze(1).to(jacobian[0].dtype)
    # The Jacobian is kept near 1 and its scale apart: in single precision it would soon be 0.
    scale = torch.ones(ids.shape[1], dtype=torch.float64)  # (B,)
    norms = []
    for k in range(distances + 1):
        if should_stop():
            raise Stopped
        before = map_state(lambda tensor: tensor.detach().requires_grad_(), states[-1 - k])
        x = _vectors(model, ids[-1 - k]).detach().requires_grad_()  # (B, E)
        with torch.enable_grad():
            _, after = functional_call(model.stack, weights, (x.unsqueeze(0), before))
        by_x, *jacobian = torch.autograd.grad(
            _tensors(after), [x, *_tensors(before)], jacobian, is_grads_batched=True
        )
        norms.append(scale * by_x.double().square().sum(dim=(0, 2)).sqrt())
        greatest = torch.stack([part.abs().amax(dim=(0, 2)) for part in jacobian]).amax(dim=0)
        greatest = torch.where(greatest > 0, greatest, 1.0)
        jacobian = [part / greatest.unsqueeze(1) for part in jacobian]
        scale = scale * greatest.double()
    return torch.stack(norms)


def _vectors(model: LanguageModel, ids: Tensor) -> Tensor:
    """(B,) token ids to the (B, E) vectors that the stack reads."""
    if model.embedding is not None:
        return model.embedding(ids)  # type: ignore[no-any-return]
    return F.one_hot(ids, model.vocabulary_size).to(model.head.weight.dtype)


def _tensors(state: Any) -> list[Tensor]:
    return [tensor for layer in state for tensor in layer]


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Its LSTM takes the units of h_t one after the other, ten times slower than torch's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the flags, about cards that are not there
        with torch.backends.mkldnn.flags(enabled=False):
            yield
