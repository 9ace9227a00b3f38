"""Optimisation, and when a training ends and is saved: what all tasks have in common."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.checks import (
    check,
    check_at_most,
    check_choice,
    check_not_negative,
    check_part,
    check_positive,
)
from charlm.errors import shown


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation, and when a training ends and is saved."""

    batch_size: int = 16
    """rows that the weights are updated after"""
    epochs: int | None = 40
    """times through what is trained on"""
    minutes: float | None = 1.6
    """wall time of training, validation and samples included. Where there are epochs too,
    training ends with what comes first. Setting one of them unsets the other; with epochs alone,
    a seed gives the same weights again on the same machine"""
    optimiser: str = "adamw"
    """sgd, rmsprop, adam or adamw"""
    lr: float = 0.006
    """learning rate, at its highest"""
    beta2: float = 0.99
    """decay of the mean squared gradient in rmsprop, adam and adamw; theirs is 0.9 or 0.999, which
    is slow for trainings of a few thousand steps"""
    weight_decay: float = 0.01
    """of adamw; per unit of learning rate"""
    schedule: str = "cosine"
    """constant; or cosine: down to nothing at the end of the epochs or minutes"""
    warmup: float = 0.05
    """fraction of the training in which the learning rate rises from 0"""
    clip_norm: float = 1.0
    """global norm above which gradients are scaled down to it; 0: never"""
    averaging: float = 0.0
    """decay, from step to step, of a running mean of the weights, which is then what is scored,
    kept as the best and used (Polyak and Juditsky 1992); 0: the weights themselves"""
    patience: int | None = None
    """end after so many validations in a row without a better figure; None: never"""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    deterministic: bool = False
    """on CUDA: slower algorithms that give the same numbers each time; a CPU's always do"""
    precision: str = "auto"
    """of the products in training: float32; bfloat16 (weights, optimiser and loss stay in
    float32); auto: bfloat16 on a processor that computes in it, else float32. Scoring and
    sampling are always in float32"""
    save_minutes: float | None = 0.5
    """a checkpoint at least so often; another at each epoch's end, where that takes no more than
    a twentieth of the time, and at the end; None: those alone"""
    save_steps: int | None = None
    """a checkpoint every so many steps too"""

    def __post_init__(self) -> None:
        check_choice("training.optimiser", self.optimiser, ("sgd", "rmsprop", "adam", "adamw"))
        check_choice("training.precision", self.precision, ("auto", "float32", "bfloat16"))
        check_choice("training.schedule", self.schedule, ("constant", "cosine"))
        for name in ("batch_size", "epochs", "minutes", "lr"):
            check_positive(f"training.{name}", getattr(self, name))
        for name in ("patience", "save_minutes", "save_steps"):
            check_positive(f"training.{name}", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "seed"):
            check_not_negative(f"training.{name}", getattr(self, name))
        for name in ("epochs", "batch_size", "patience", "save_steps"):
            check_at_most(f"training.{name}", getattr(self, name), 10**9)
        for name in ("warmup", "beta2", "averaging"):
            check_part(f"training.{name}", getattr(self, name))
        check(self.seed < 2**63, f"training.seed is {shown(self.seed)}; it must be below 2**63")
        check(
            self.epochs is not None or self.minutes is not None,
            "training ends after epochs or after minutes: give one of them",
        )
