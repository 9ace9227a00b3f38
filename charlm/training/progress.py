"""The numbers that say how far a training has come; training.json holds them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from charlm.errors import shown
from charlm.runs.fields import check_keys
from charlm.training.loss import LossSum


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
        }
        for name, ok in fit.items():
            if not ok:
                raise ValueError(f"the progress cannot have the {name} {shown(content[name])}")
        return new
