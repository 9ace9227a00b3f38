"""A run of a classifier of texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from charlm.config import ClassificationConfig
from charlm.corpus.reviews import Reviews, ReviewVocabulary, load_reviews
from charlm.models.build import build_classifier
from charlm.models.classifier import Classifier
from charlm.models.recurrent_model import RecurrentModel
from charlm.runs.fields import Kinds
from charlm.runs.language import Run
from charlm.runs.run import TaskRun


@dataclass(kw_only=True)
class ClassifierRun(TaskRun):
    """A run of ``charlm classify train``."""

    task = "classify"
    config_type = ClassificationConfig
    vocabulary_type = ReviewVocabulary
    corpus_kinds: ClassVar[Kinds] = {}
    figures = ("train_loss", "valid_accuracy")
    unit = "texts"
    command = "charlm classify"
    other_corpus_hint = "name the right one: --data"

    config: ClassificationConfig
    vocabulary: ReviewVocabulary

    @staticmethod
    def model_of(config: ClassificationConfig, vocabulary: ReviewVocabulary) -> Classifier:
        """A freshly initialised model; torch's global generator decides its weights."""
        return build_classifier(config, vocabulary)

    def first_model(self) -> Classifier:
        """The model that a training begins with: where the run says so, a language model's layers.

        Raises:
            RunError: the run of that language model is missing or damaged.
            UsageError: its layers are not those of the configuration.
        """
        model: Classifier = self.new_model()
        if self.config.model.from_run is not None:
            source: RecurrentModel = Run.open(Path(self.config.model.from_run)).load_model()
            model.take_layers(source)
        return model

    def load_corpus(self, corpora_dir: Path | None = None) -> Reviews:
        """The texts that the run was trained on, read again and split as they were then.

        Raises:
            CorpusError: they are not to be had, or have changed since.
        """
        own = self.config.model.from_run is None
        tokens = None if own else self.vocabulary.tokens
        corpus = load_reviews(self.config.corpus, corpora_dir, tokens=tokens)
        self.check_corpus(corpus)
        return corpus
