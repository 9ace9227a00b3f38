"""What the data of a classifier and of a tagger have in common: examples in three splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charlm.corpus.corpus import SPLITS
from charlm.corpus.labelled_texts import LabelledTexts
from charlm.corpus.tagged_sentences import TaggedSentences


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Data as read, the vocabulary that it is read with, and the settings of that."""

    data: LabelledTexts | TaggedSentences
    vocabulary: Any
    config: Any

    @property
    def name(self) -> str:
        """A short name, for run folders."""
        return self.data.name

    @property
    def source(self) -> str:
        """The path that it was read from."""
        return self.data.source

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how it was read, one line each."""
        return self.data.notices

    @property
    def split_sizes(self) -> tuple[int, ...]:
        """Examples in train, valid and test."""
        return tuple(len(self.data.splits[name]) for name in SPLITS)

    def describe(self) -> dict[str, Any]:
        """What tells it from others, for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.data.sha256,
            "split": list(self.split_sizes),
        }
