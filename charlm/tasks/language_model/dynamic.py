"""Dynamic evaluation: the weights of a model learn from the text that it has already read.

Krause, Kahembwe, Murray and Renals (2018), "Dynamic evaluation of neural sequence models". The text
is read in segments. After a segment with the mean loss L is scored, each weight w takes a step
against its gradient and back towards its trained value w0:

    w <- w - r dL/dw / (s + e)  +  min(1, d s / mean(s)) (w0 - w)

r is the learning rate and d the decay. s is the root of the weight's mean squared gradient on the
training text, mean(s) that of all weights, and e = ``EPSILON`` mean(s). A character is scored
before the model learns from it, so a score depends on the characters before it alone. A score of
this kind must not be mixed up with that of a model with fixed weights.

Letters in the shape comments: N ids of a text, T characters of a segment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.errors import Stopped
from charlm.optimisation.tables import table_parameters
from charlm.recurrent.states import StackState, map_state
from charlm.tasks.language_model.model import LanguageModel
from charlm.tasks.language_model.ngram import Floats, Ids

EPSILON = 0.1
# What `search` tries.
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
DECAYS = (0.0, 0.003, 0.01, 0.03)
SEGMENTS = (10, 20, 40)
SQUARES = 200  # segments of the training text whose gradients are squared
WARM_UP = 128  # characters that are read before each of them


class Settings(NamedTuple):
    """The settings of a dynamic evaluation."""

    learning_rate: float = 1e-3
    decay: float = 0.003
    segment: int = 20  # T, characters


class Dynamic:
    """A trained model, which stays as it is, and the size of its gradients on its training text.

    Args:
        model: in evaluation mode.
        train: ids of the training text.

    Raises:
        Stopped: ``should_stop`` returned True; also of the methods.
    """

    def __init__(
        self, model: LanguageModel, train: Ids, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.model, self.should_stop = _copied(model), should_stop
        model, weights = self.model, _trainable(self.model)
        squares = [torch.zeros_like(each) for each in weights]
        length = Settings().segment
        last = max(0, len(train) - 1 - WARM_UP - length)
        for start in np.linspace(0, last, SQUARES).astype(int).tolist():
            begin = min(start + WARM_UP, len(train) - 2)
            with torch.no_grad():
                _, state = self._read(model, train[start : begin + 1], model.initial_state(1))
            losses, _ = self._read(model, train[begin : begin + length + 1], state)
            for each, gradient in zip(squares, _gradients(losses, weights), strict=True):
                each.addcmul_(gradient, gradient)
        self.roots = [each.div_(SQUARES).sqrt_() for each in squares]
        total = sum(float(each.sum()) for each in self.roots)
        self.mean = max(total / sum(each.numel() for each in self.roots), 1e-30)

    def nats(self, ids: Ids, settings: Settings, window: int | None = None) -> Floats:
        """The cross-entropy of each of ``ids[1:]``, (N - 1,), in nats.

        Args:
            window: characters after which the state starts from zeros again; None: it is carried.
        """
        model = _copied(self.model)
        weights, first = _trainable(model), _trainable(self.model)
        steps = [settings.learning_rate / (each + EPSILON * self.mean) for each in self.roots]
        back = [(settings.decay / self.mean * each).clamp_(max=1) for each in self.roots]
        nats, state = np.empty(len(ids) - 1), model.initial_state(1)
        for begin, end, anew in _segments(len(nats), settings.segment, window):
            state = model.initial_state(1) if anew else state
            losses, state = self._read(model, ids[begin : end + 1], state)
            nats[begin:end] = losses.detach().double().cpu().numpy()
            gradients = _gradients(losses, weights)
            with torch.no_grad():
                for i, weight in enumerate(weights):
                    weight.addcmul_(gradients[i], steps[i], value=-1)
                    weight.lerp_(first[i], back[i])
        return nats

    def _read(self, model: LanguageModel, ids: Ids, state: StackState) -> tuple[Tensor, StackState]:
        """The (T,) losses on ``ids[1:]``, and the state after them, without its history."""
        if self.should_stop():
            raise Stopped
        device = model.head.weight.device
        read = torch.from_numpy(np.asarray(ids, np.int64)).to(device)
        logits, state = model(read[:-1].unsqueeze(1), state)
        losses = F.cross_entropy(logits[:, 0].float(), read[1:], reduction="none")
        return losses, map_state(Tensor.detach, state)


def search(dynamic: Dynamic, ids: Ids, window: int | None = None) -> Settings:
    """The settings that score a text best, one after the other: learning rate, decay, segment."""
    best = Settings()
    least = float(dynamic.nats(ids, best, window).mean())
    choices: dict[str, Iterable[Any]] = {
        "learning_rate": LEARNING_RATES,
        "decay": DECAYS,
        "segment": SEGMENTS,
    }
    for name, values in choices.items():
        for value in values:
            tried = best._replace(**{name: value})
            if tried == best:
                continue
            mean = float(dynamic.nats(ids, tried, window).mean())
            if mean < least:  # a NaN is not
                best, least = tried, mean
    return best


def _segments(count: int, size: int, window: int | None) -> Iterator[tuple[int, int, bool]]:
    """Begin and end of each segment, and whether it starts from a zero state."""
    window = count if window is None else window
    for first in range(0, count, window):
        last = min(first + window, count)
        for begin in range(first, last, size):
            yield begin, min(begin + size, last), begin == first


def _copied(model: LanguageModel) -> LanguageModel:
    """A copy whose gradients cuDNN can compute."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.train()  # cuDNN has no gradients in evaluation mode
            module.flatten_parameters()  # the weights of a copy lie apart, which is slow
    return model


def _trainable(model: LanguageModel) -> list[nn.Parameter]:
    """The weights that change; not the tables of n-grams, whose gradients are sparse."""
    tables = table_parameters(model)
    named = model.named_parameters()
    return [each for name, each in named if each.requires_grad and name not in tables]


def _gradients(losses: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
    return list(torch.autograd.grad(losses.mean(), weights))
