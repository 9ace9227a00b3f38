"""The events of a training; the caller shows, plots or logs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm.task import Task


@dataclass(frozen=True, kw_only=True)
class Started:
    """The model is built, and the first batch is next."""

    parameters: int
    in_tables: int  # of the parameters, those in tables of n-grams
    device: str
    train_size: int  # of the train split, in the task's unit
    valid_size: int
    epoch: float = 0.0  # epochs that were trained before, if the training resumes
    best: float | None = None  # the best validation metric of those epochs
    notices: tuple[str, ...] = ()  # what the user should know about resuming, one line each


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """The weights were updated once."""

    epoch: int
    progress: float  # the share of the training that is done, 0 to 1
    metric: float  # the training metric over the batches of the epoch so far
    seconds: float  # of training since the start
    left: float  # seconds until the end, as expected
    items: int  # characters, texts or words since the start


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The validation split was scored: at the end of an epoch, or inside a long one.

    A model that starts with trained weights is also scored before its first step, at epoch 0.
    """

    epoch: float  # epochs since the start; a fraction inside an epoch
    step: int
    # the training metric over the batches of this epoch, with dropout on; None: before the first
    train: float | None
    # the validation metric, on a fixed sample of a large split; None: there is no split
    valid: float | None
    learning_rate: float
    gradient_norm: float | None  # mean global norm before clipping, since the last report
    largest_gradient_norm: float | None
    clipped_share: float | None  # the share of the steps whose gradients were clipped, 0 to 1
    seconds: float
    items: int
    # With averaging, the validation metric of the weights themselves and of their mean, of which
    # the better one is ``valid``; None: there is no mean yet.
    raw: float | None = None
    averaged: float | None = None

    def row(self, task: Task) -> dict[str, Any]:
        """The line of metrics.jsonl; docs/logs.md describes its fields."""
        key = task.metric_keys[1]
        return {
            "epoch": self.epoch,
            "step": self.step,
            **dict(zip(task.metric_keys, (self.train, self.valid), strict=True)),
            **{f"raw_{key}": self.raw, f"averaged_{key}": self.averaged},
            "learning_rate": self.learning_rate,
            "gradient_norm": self.gradient_norm,
            "largest_gradient_norm": self.largest_gradient_norm,
            "clipped_share": self.clipped_share,
            "seconds": self.seconds,
            task.unit: self.items,
        }


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The model wrote a sample."""

    epoch: float
    prefix: str
    text: str  # the prefix and its continuation


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Training ended, and the run folder is complete."""

    epochs: float
    seconds: float
    items: int
    train: float | None  # the training metric of the last whole epoch, or of an unfinished first
    valid: float | None  # the validation metric of the best weights
    last_train: float | None  # the training metric since the last epoch began
    last_valid: float | None  # the last score of the validation split
    best_epoch: float | None  # epochs after which the best weights were scored
    interrupted: bool  # training was asked to stop before its end
    out_of_patience: bool = False  # the validation metric did not improve for ``patience`` scores
    scored: int = 0  # items of the validation split that ``valid`` is about
    waited: float = field(default=0.0, compare=False)  # seconds, with the set-up before training
    tests: bool = True  # whether there is time to score the test split
    # what `Task.prepare_conclusion` returned; None: it was not called
    prepared: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """Something about the training that the user should know."""

    text: str
    warning: bool = False  # whether something failed


Event = Started | Stepped | Measured | Sampled | Noticed | Finished
