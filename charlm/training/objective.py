"""The training side of a task: batches, loss, score and samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from charlm.recurrent.states import StackState
from charlm.task import Task
from charlm.training.events import Sampled
from charlm.training.loss import LossSum


class Batches(Protocol):
    """The batches of an epoch, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Objective(ABC):
    """The batches of a training set, the loss on a batch, and the score of the validation set."""

    task: Task  # it names the metrics and the unit
    train_size: int  # the size of the train split, in the task's unit
    valid_size: int
    starts_trained: bool = False  # whether a new model has trained weights, which are scored first
    most_scored: int = 200_000  # items of the validation split that a report scores
    sample_every: int | None = None  # epochs between two sets of samples; None: about five in all

    def prepare(self, model: Any) -> None:
        """Give a new model the facts it needs from the data; this draws no random number."""
        return None

    @abstractmethod
    def draw_batches(self, generator: torch.Generator) -> Batches:
        """The batches of an epoch; every random choice comes from the generator, on the CPU."""

    def num_rows(self, batch: Any) -> int:
        """The number of rows of a batch, which several processes share."""
        return len(batch)

    def some_rows(self, batch: Any, rows: slice) -> Any:
        """Some of the rows of a batch, as a batch."""
        return batch[rows]

    @abstractmethod
    def loss(
        self, model: Any, batch: Any, state: StackState | None
    ) -> tuple[Tensor, int, StackState | None]:
        """The cross-entropy of a batch.

        Args:
            state: the state after the previous batch, of the same rows; None at the start of an
                epoch.

        Returns:
            The sum in nats, the number of items in it, and the state for the next batch, if the
            state is carried from batch to batch.
        """

    @abstractmethod
    def train_metric(self, loss: LossSum) -> float:
        """The training metric, from the loss on some batches."""

    @property
    def has_valid(self) -> bool:
        """Whether the validation split is large enough to be scored."""
        return self.valid_size > 0

    def scored(self, size: int) -> int:
        """The items that `score` scores for a size."""
        return size

    @abstractmethod
    def score(self, model: Any, size: int, should_stop: Callable[[], bool]) -> float:
        """The metric of the validation split, or of about ``size`` items spread evenly over it.

        Several processes share the work; all return the same.

        Args:
            size: the number of items, 1 to ``valid_size``, which means all.

        Raises:
            Stopped: ``should_stop`` returned True; the model is unchanged.
        """

    def carried_state(self, model: Any) -> StackState | None:
        """A zero state like the one carried from batch to batch; None if none is carried."""
        return None

    def sample(
        self,
        model: Any,
        epoch: float,
        should_stop: Callable[[], bool],
        enough: Callable[[], bool],
    ) -> Iterator[Sampled]:
        """Samples from the model, for tasks whose models write; ``enough`` ends them early.

        Raises:
            Stopped: ``should_stop`` returned True.
        """
        yield from ()
