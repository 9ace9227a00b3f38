"""The run of a tagger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlm.tasks.predicting import PredictingRun

if TYPE_CHECKING:
    from charlm.tasks.tagging.config import TaggingConfig
    from charlm.tasks.tagging.model import Tagger
    from charlm.tasks.tagging.slots import TaggerVocabulary


class TaggerRun(PredictingRun):
    """A trained tagger: `predict` gives a tag for each word of a sentence."""

    if TYPE_CHECKING:
        config: TaggingConfig
        vocabulary: TaggerVocabulary

        def load_model(self, weights: str = "best") -> Tagger: ...  # noqa: D102
