"""Precision, recall and F1 of what a model found, such as the texts of a label or spans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Counts of predictions, of those that are correct, and of what the data holds."""

    correct: int = 0  # predictions that are in the data
    found: int = 0  # predictions
    gold: int = 0  # in the data

    @property
    def precision(self) -> float:
        """The percentage of predictions that are correct; 0 if there are none."""
        return 100 * self.correct / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """The percentage of the data that was found; 0 if there is none."""
        return 100 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, in percent; 0 if both are 0."""
        both = self.found + self.gold
        return 200 * self.correct / both if both else 0.0
