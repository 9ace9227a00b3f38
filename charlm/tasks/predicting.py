"""Runs whose models answer about a text of the user's: classifiers and taggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charlm.runs import Run


class PredictingRun(Run):
    """A run of a task with a ``predict`` command."""

    def predict(self, texts: str | Sequence[str], *, device: str = "auto") -> list[dict[str, Any]]:
        """The model's answers, as ``predict --json`` prints them.

        Args:
            texts: one text, or several.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

        Returns:
            A dictionary for each text. A classifier gives ``text``, ``label`` and ``labels`` (the
            probability of each label), a tagger ``words``, ``tags`` and ``spans``.

        Raises:
            UsageError: a text is too long, or has nothing to read.

        >>> reviews = charlm.open("reviews", task="classify")
        >>> reviews.predict("a lovely film")[0]["label"]
        'good'
        """
        from charlm.device import select_device

        given = [texts] if isinstance(texts, str) else texts
        predictions: list[dict[str, Any]]
        predictions = self.task.predict(self, given, select_device(device)).content["predictions"]
        return predictions
