"""Examples in three splits with their vocabulary: what classifiers and taggers train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charlm.corpus.labelled_texts import LabelledTexts
from charlm.corpus.splits import SPLITS
from charlm.corpus.tagged_sentences import TaggedSentences


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Data, the vocabulary that encodes them, and the settings of both."""

    data: LabelledTexts | TaggedSentences
    vocabulary: Any
    config: Any

    @property
    def name(self) -> str:
        """A short name, for run folders."""
        return self.data.name

    @property
    def source(self) -> str:
        """The path of the data."""
        return self.data.source

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how the data were read, one line each."""
        return self.data.notices

    @property
    def split_sizes(self) -> tuple[int, ...]:
        """The numbers of examples in train, valid and test."""
        return tuple(len(self.data.splits[name]) for name in SPLITS)

    def describe(self) -> dict[str, Any]:
        """The facts that identify the data, for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.data.sha256,
            "split": list(self.split_sizes),
        }
