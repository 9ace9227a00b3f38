"""What a training works on, beside the model and what moves it: the three tasks differ in this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from charlm.batches import Batches
from charlm.evaluation.perplexity import LossSum
from charlm.recurrent.states import StackState
from charlm.training.events import Sampled


class Task(ABC):
    """Batches, the loss on one, and the measure on what is held out.

    Attributes:
        train_size: what an epoch goes through, in the run's unit.
        valid_size: what is held out; nothing is scored where there is too little.
        higher_is_better: of the figure on what is held out.
    """

    train_size: int
    valid_size: int
    higher_is_better: bool

    def prepare(self, model: Any) -> None:
        """What a new model takes from the data before its first step; it draws nothing."""
        return None

    @abstractmethod
    def draw_batches(self, generator: torch.Generator) -> Batches[Any]:
        """The batches of an epoch; all that is random comes from the generator, on the CPU."""

    @abstractmethod
    def loss(
        self, model: Any, batch: Any, state: StackState | None
    ) -> tuple[Tensor, int, StackState | None]:
        """The cross-entropy of a batch.

        Args:
            state: what the last batch left; None at an epoch's start.

        Returns:
            The sum in nats, how many items it is over, and the state to carry on, if any.
        """

    @abstractmethod
    def train_figure(self, loss: LossSum) -> float:
        """What is shown of the loss on the batches."""

    @property
    def has_valid(self) -> bool:
        """Whether there is something to score."""
        return self.valid_size > 0

    @abstractmethod
    def score(self, model: Any, should_stop: Callable[[], bool]) -> float:
        """The figure on what is held out.

        Raises:
            Stopped: ``should_stop`` said so; the model is as it was.
        """

    def carried_state(self, model: Any) -> StackState | None:
        """Zeros like the state that goes from batch to batch; None where none does."""
        return None

    def sample(
        self, model: Any, epoch: float, should_stop: Callable[[], bool]
    ) -> Iterator[Sampled]:
        """What the model writes by now, for tasks where it writes.

        Raises:
            Stopped: ``should_stop`` said so.
        """
        yield from ()
