"""How far back a language model remembers: Jacobians of the hidden state by earlier inputs.

Letters in the shape comments: T steps, B positions, K the furthest distance, N characters,
H hidden units, S units of the state of all layers, E the size of an input vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from charlm.errors import Stopped
from charlm.models.recurrent_model import evaluating
from charlm.recurrent.states import StackState, map_state, state_tensors
from charlm.tasks.language_model.model import LanguageModel

THRESHOLD = 0.01  # a norm below this part of the norm at k = 0 counts as forgotten
WARM_UP = 512  # characters that the model reads before the differentiated ones
LIMIT = 2**25  # most entries of the Jacobians in memory at once


@dataclass(frozen=True)
class Memory:
    """Frobenius norms of the Jacobians d h_t / d x_(t-k)."""

    positions: list[int]  # (B,) the positions t, as indices into the text
    norms: Tensor  # (K + 1, B) float64, one row for each k = 0, ..., K

    @property
    def lower(self) -> list[float]:
        """(K + 1,) the first quartile of the norms over the positions."""
        return self._quantile(0.25)

    @property
    def median(self) -> list[float]:
        """(K + 1,) the median of the norms over the positions."""
        return self._quantile(0.5)

    @property
    def upper(self) -> list[float]:
        """(K + 1,) the third quartile of the norms over the positions."""
        return self._quantile(0.75)

    @property
    def distances(self) -> int:
        """K, the furthest distance in characters."""
        return len(self.norms) - 1

    @property
    def forgotten(self) -> int | None:
        """The smallest distance from which every median norm is below 1% of the first, if any."""
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
    """The norms of the exact Jacobians of the top layer's output by each earlier input vector.

    ::

        d h_t / d x_(t-k) = (d h_t / d s_(t-k)) (d s_(t-k) / d x_(t-k))

    x is the input vector of the recurrent layers, an embedding or a one-hot vector; s is the state
    of all layers. A step depends on the past only through s, so the first factor is propagated
    back one step at a time, for all units of h_t at once. Source: Bengio, Simard and Frasconi
    (1994), "Learning long-term dependencies with gradient descent is difficult".

    The positions t are spread evenly over the text. At each of them the model reads the same
    number of characters before position t - ``distances``: 512, or fewer in a short text.

    Args:
        model: on the CPU, in either mode. Its mode and weights do not change.
        ids: (N,) integers, N >= 3.
        distances: K, in characters; at most half of the text is used.
        positions: B; a short text may have fewer.
        should_stop: called before each step back.

    Raises:
        Stopped: ``should_stop`` returned True.
        ValueError: there are fewer than three characters, or ``distances`` or ``positions`` is
            below 1.
    """
    if len(ids) < 3 or distances < 1 or positions < 1:
        raise ValueError("this needs at least three characters, a distance and a position")
    distances = min(distances, (len(ids) - 1) // 2)
    warm_up = min(WARM_UP, (len(ids) - 1 - distances) // 2)
    first, last = warm_up + distances, len(ids) - 1
    ends = torch.linspace(first, last, min(positions, last - first + 1), dtype=torch.float64)
    ends = ends.round().long()  # (B,)
    steps = torch.arange(-first, 1).unsqueeze(1)  # (T, 1)
    state = model.stack.initial_state(1)
    units = sum(tensor.shape[1] for tensor in state_tensors(state))
    inputs = model.embedding.embedding_dim if model.embedding else model.vocabulary_size
    rows = max(1, LIMIT // (model.stack.output_size * (units + inputs)))
    with evaluating(model), _without_onednn():
        norms = [
            _norms(model, ids[group + steps].long(), distances, should_stop)
            for group in torch.split(ends, rows)
        ]
    return Memory(ends.tolist(), torch.cat(norms, dim=1))


def _norms(
    model: LanguageModel, ids: Tensor, distances: int, should_stop: Callable[[], bool]
) -> Tensor:
    """(T, B) token ids to the (K + 1, B) norms at the last step."""
    weights = {name: weight.detach() for name, weight in model.stack.named_parameters()}
    states: list[StackState] = []  # the state before each of the last K + 1 steps
    with torch.no_grad():
        state = model.stack.initial_state(ids.shape[1])
        vectors = _vectors(model, ids)
        for begin, read in enumerate(vectors):
            if begin >= len(ids) - distances - 1:
                states.append(state)
            _, state = model.stack(read.unsqueeze(0), state)
    units = model.stack.output_size
    identity = torch.eye(units, dtype=model.head.weight.dtype)
    jacobian = [identity.unsqueeze(1).expand(-1, ids.shape[1], -1)]  # (H, B, H), then (H, B, S)
    # The Jacobian is scaled to about 1 at each step: in single precision it would soon be 0.
    scale = torch.ones(ids.shape[1], dtype=torch.float64)  # (B,)
    norms = []
    for k in range(distances + 1):
        if should_stop():
            raise Stopped
        before = map_state(lambda tensor: tensor.detach().requires_grad_(), states[-1 - k])
        x = vectors[-1 - k].detach().requires_grad_()  # (B, E)
        with torch.enable_grad():
            outputs, after = functional_call(model.stack, weights, (x.unsqueeze(0), before))
            # The first step back starts at the output h_t, the others at the state after the step.
            ends = [outputs[0]] if k == 0 else state_tensors(after)
        by_x, *jacobian = torch.autograd.grad(
            ends, [x, *state_tensors(before)], jacobian, is_grads_batched=True
        )
        norms.append(scale * by_x.double().square().sum(dim=(0, 2)).sqrt())
        greatest = torch.stack([part.abs().amax(dim=(0, 2)) for part in jacobian]).amax(dim=0)
        greatest = torch.where(greatest > 0, greatest, 1.0)
        jacobian = [part / greatest.unsqueeze(1) for part in jacobian]
        scale = scale * greatest.double()
    return torch.stack(norms)


def _vectors(model: LanguageModel, ids: Tensor) -> Tensor:
    """(T, B) token ids to the (T, B, E) input vectors of the recurrent layers."""
    if model.embedding is None:
        return F.one_hot(ids, model.vocabulary_size).to(model.head.weight.dtype)
    vectors: Tensor = model.vectors(ids, model.initial_state(ids.shape[1]))[0]
    return vectors


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Use torch's own LSTM inside the block.

    oneDNN's LSTM computes the gradients of the units of h_t one by one, ten times slower.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the flags warn about devices that are missing
        with torch.backends.mkldnn.flags(enabled=False):
            yield
