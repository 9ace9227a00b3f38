"""The numbers that say how far a training has come; training.json holds them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from charlm.errors import shown
from charlm.runs.fields import GRADIENTS, check_keys
from charlm.training.loss import LossSum

_NEW = (  # older checkpoints lack these
    *("norms", "norm_sum", "largest_norm", "clipped"),
    *("scored", "final_valid", "final_scored", "done_minutes", "averaged", "lr_factor"),
)


@dataclass(kw_only=True)
class Progress:
    """The progress of a training between two steps, without its tensors."""

    step: int = 0  # updates of the weights
    items: int = 0  # characters, texts or words since the start
    seconds: float = 0.0  # training time since the start
    learning_rate: float = 0.0  # of the last step
    whole_epochs: int = 0  # epochs before the current one
    batches: int = 0  # batches done in the current epoch
    nats: float = 0.0  # summed cross-entropy of those batches
    count: int = 0  # items in those batches
    train_metric: float | None = None  # the training metric of the last whole epoch
    best_valid: float | None = None  # the best validation metric; None before the first
    unimproved: int = 0  # scores of the validation split since the best one
    measured_step: int = 0  # the step of the last report
    measured_share: float = 0.0  # the share of the training that was done at that step, 0 to 1
    next_samples: float = 0.0  # the share of the training at which samples are due
    scored: int = 0  # items of the validation split that a report scores; 0: not yet decided
    final_valid: float | None = None  # the metric of the best weights on more of it, at the end
    final_scored: int = 0  # the items of that
    done_minutes: float = 0.0  # the largest budget of minutes that this training has used up
    averaged: int = 0  # weights in the mean of swa or nt_asgd; 0: it has not begun
    lr_factor: float = 1.0  # by which plateaus have reduced the learning rate
    norms: int = 0  # steps since the last report whose gradient norm is in the next two numbers
    norm_sum: float = 0.0  # of the global gradient norms of those steps, before clipping
    largest_norm: float = 0.0  # of those steps
    clipped: int = 0  # those of the steps whose gradients were clipped

    def count_norm(self, norm: float, *, clipped: bool) -> None:
        """Count the gradient norm of one more step."""
        self.norms += 1
        self.norm_sum += norm
        self.largest_norm = max(self.largest_norm, norm)
        self.clipped += clipped

    def forget_norms(self) -> None:
        """Begin to count the norms anew, after a report."""
        self.norms, self.norm_sum, self.largest_norm, self.clipped = 0, 0.0, 0.0, 0

    @property
    def gradients(self) -> dict[str, float | None]:
        """The gradients since the last report, as in metrics.jsonl; None if there was no step."""
        if not self.norms:
            return dict.fromkeys(GRADIENTS)
        values = self.norm_sum / self.norms, self.largest_norm, self.clipped / self.norms
        return dict(zip(GRADIENTS, values, strict=True))

    @property
    def loss(self) -> LossSum:
        """The loss on the batches of the current epoch."""
        return LossSum(self.nats, self.count)

    @classmethod
    def from_json(cls, content: Any) -> Progress:
        """The progress from the JSON of its ``vars``.

        Raises:
            ValueError: a key or a value is impossible; the message names it.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if isinstance(content, dict):
            content = {**{name: fields[name].default for name in _NEW}, **content}
        check_keys(content, fields, "the progress")
        for name, field in fields.items():
            value = content[name]
            if value is None and "None" in str(field.type):
                continue
            kind, limit = (int, 2**63) if field.type == "int" else (float, math.inf)
            if type(value) is not kind or not 0 <= value < limit:
                raise ValueError(f"the progress cannot have the {name} {shown(value)}")
        new = cls(**content)
        fit = {
            "items": new.step <= new.items,
            "whole_epochs": new.whole_epochs <= new.step,
            "batches": new.batches <= new.step - new.whole_epochs,
            "count": new.batches <= new.count <= new.items,
            "measured_step": new.measured_step <= new.step,
            "measured_share": new.measured_share <= 1,
            "next_samples": new.next_samples <= 2,
            "norms": new.norms <= new.step - new.measured_step,
            "clipped": new.clipped <= new.norms,
            "averaged": new.averaged <= new.step + 1,
            "lr_factor": new.lr_factor <= 1,
        }
        for name, ok in fit.items():
            if not ok:
                raise ValueError(f"the progress cannot have the {name} {shown(content[name])}")
        return new
