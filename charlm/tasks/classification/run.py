"""The run of a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlm.tasks.predicting import PredictingRun

if TYPE_CHECKING:
    from charlm.tasks.classification.config import ClassificationConfig
    from charlm.tasks.classification.model import Classifier
    from charlm.tasks.classification.reviews import ReviewVocabulary


class ClassifierRun(PredictingRun):
    """A trained classifier: `predict` gives the label of a text."""

    if TYPE_CHECKING:
        config: ClassificationConfig
        vocabulary: ReviewVocabulary

        def load_model(self, weights: str = "best") -> Classifier: ...  # noqa: D102
