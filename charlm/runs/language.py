"""A run of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from charlm.config import LanguageModelConfig
from charlm.corpus import Corpus, Vocabulary
from charlm.models.build import build_language_model
from charlm.models.language_model import LanguageModel
from charlm.runs.fields import NUMBER_OF, TEXT, Kinds
from charlm.runs.run import TaskRun
from charlm.runs.texts import load_run_corpus


@dataclass(kw_only=True)
class Run(TaskRun):
    """A run of ``charlm train``."""

    task = "language-model"
    config_type = LanguageModelConfig
    vocabulary_type = Vocabulary
    corpus_kinds: ClassVar[Kinds] = {"cleaning": TEXT, "characters": NUMBER_OF}
    figures = ("train_perplexity", "valid_perplexity")
    unit = "characters"
    command = "charlm"
    other_corpus_hint = "to score another text, charlm eval --text FILE"

    config: LanguageModelConfig
    vocabulary: Vocabulary

    @staticmethod
    def model_of(config: LanguageModelConfig, vocabulary: Vocabulary) -> LanguageModel:
        """A freshly initialised model; torch's global generator decides its weights."""
        return build_language_model(config.model, len(vocabulary))

    def load_corpus(self, corpora_dir: Path | None = None) -> Corpus:
        """The text that the run was trained on, read again and split as it was then.

        Raises:
            CorpusError: it is not to be had, or has changed since.
        """
        kept = self.folder / "corpus.txt" if self.config.corpus.source == "-" else None
        corpus = load_run_corpus(self.config.corpus, kept, corpora_dir)
        self.check_corpus(corpus)
        return corpus
