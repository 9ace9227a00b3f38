"""A run of a tagger of words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from charlm.config import TaggingConfig
from charlm.corpus.slots import Slots, TaggerVocabulary, load_slots
from charlm.models.build import build_tagger
from charlm.models.tagger import Tagger
from charlm.runs.fields import Kinds
from charlm.runs.run import TaskRun


@dataclass(kw_only=True)
class TaggerRun(TaskRun):
    """A run of ``charlm tag train``."""

    task = "tag"
    config_type = TaggingConfig
    vocabulary_type = TaggerVocabulary
    corpus_kinds: ClassVar[Kinds] = {}
    figures = ("train_loss", "valid_f1")
    unit = "words"
    command = "charlm tag"
    other_corpus_hint = "name the right one: --data"

    config: TaggingConfig
    vocabulary: TaggerVocabulary

    @staticmethod
    def model_of(config: TaggingConfig, vocabulary: TaggerVocabulary) -> Tagger:
        """A freshly initialised model; torch's global generator decides its weights."""
        return build_tagger(config, vocabulary)

    def load_corpus(self, corpora_dir: Path | None = None) -> Slots:
        """The sentences that the run was trained on, read again and split as they were then.

        Raises:
            CorpusError: they are not to be had, or have changed since.
        """
        corpus = load_slots(self.config.corpus, corpora_dir)
        self.check_corpus(corpus)
        return corpus
