"""What the training loop tells: the caller shows, plots or logs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Started:
    """The model is built and the first batch is next."""

    parameters: int
    device: str
    train_size: int
    """of the train split, in the run's unit"""
    valid_size: int
    epoch: float = 0.0
    """where it goes on, in times through the train split"""
    notices: tuple[str, ...] = ()
    """what the user should know of going on, one line each"""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """The weights were updated once."""

    epoch: int
    progress: float
    """part of the training that is over, 0 to 1"""
    figure: float
    """of the epoch's batches so far: the first of the run's ``figures``"""
    seconds: float
    """since the start"""
    items: int
    """gone through since the start, in the run's unit"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An epoch ended, or what is held out was scored inside a long one.

    The run's ``figures`` name the two: perplexities are exp of nats per character, losses are in
    nats, accuracies and F1 in percent.
    """

    epoch: float
    """how many times the train split was gone through; inside an epoch a fraction"""
    step: int
    train: float
    """of this epoch's batches, each item weighted the same, dropout on"""
    valid: float | None
    """of the whole validation split; None where there is none"""
    learning_rate: float
    seconds: float
    items: int


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A continuation was drawn."""

    epoch: float
    prefix: str
    text: str
    """the prefix and its continuation"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Training ended and the run folder is complete."""

    epochs: float
    seconds: float
    items: int
    train: float | None
    """of the last whole epoch; of the part where there was none"""
    valid: float | None
    """of the weights that are kept as the best"""
    interrupted: bool
    """it was asked to stop before its end"""
    out_of_patience: bool = False
    """the figure on what is held out had not improved for too long"""


Event = Started | Stepped | Measured | Sampled | Finished
