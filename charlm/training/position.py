"""How far a training has come: the numbers of its state, as training.json keeps them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from charlm.errors import shown
from charlm.evaluation.perplexity import LossSum
from charlm.runs.fields import check_keys


@dataclass(kw_only=True)
class Position:
    """Where a training stands after a step; its tensors apart."""

    step: int = 0
    """updates of the weights"""
    items: int = 0
    """gone through since the start, in the run's unit"""
    seconds: float = 0.0
    """spent since the start"""
    learning_rate: float = 0.0
    """of the last step"""
    whole_epochs: int = 0
    """gone through before the present one"""
    batches: int = 0
    """of the present epoch, done"""
    nats: float = 0.0
    """summed cross-entropy of those batches"""
    count: int = 0
    """items of those batches"""
    train_figure: float | None = None
    """of the last whole epoch"""
    best_valid: float | None = None
    """the best figure on what is held out; None before the first"""
    unimproved: int = 0
    """validations since the best"""
    measured_step: int = 0
    """the step of the last measure"""
    measured_progress: float = 0.0
    """part of the training that was over at that step, 0 to 1"""
    next_samples: float = 0.0
    """part of the training that is over when samples are due"""

    @property
    def loss(self) -> LossSum:
        """Of the present epoch's batches."""
        return LossSum(self.nats, self.count)

    @classmethod
    def from_json(cls, content: Any) -> Position:
        """What ``vars`` of a position holds, read again.

        Raises:
            ValueError: a key or a value is not a position's; it is named.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        check_keys(content, fields, "the position")
        for name, field in fields.items():
            value = content[name]
            if value is None and "None" in str(field.type):
                continue
            whole = field.type == "int"
            # Of 64 bits, so that it can become a float.
            if type(value) is not (int if whole else float) or not 0 <= value < _MOST[whole]:
                raise ValueError(f"the position's {name} cannot be {shown(value)}")
        position = cls(**content)
        position._check()
        return position

    def _check(self) -> None:
        """Make sure that the numbers fit each other.

        Raises:
            ValueError: they do not.
        """
        fit = {
            "items": self.step <= self.items,
            "whole_epochs": self.whole_epochs <= self.step,
            "batches": self.batches <= self.step - self.whole_epochs,
            "count": self.batches <= self.count <= self.items,
            "measured_step": self.measured_step <= self.step,
            "measured_progress": self.measured_progress <= 1,
            "next_samples": self.next_samples <= 2,
        }
        for name, ok in fit.items():
            if not ok:
                raise ValueError(f"the position's {name} cannot be {shown(getattr(self, name))}")


_MOST = {True: 2**63, False: math.inf}
