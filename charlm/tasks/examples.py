"""The common parts of classification and tagging: data that consists of labelled examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charlm.corpus import SPLITS
from charlm.errors import shown


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """Labelled examples in three splits, their vocabulary, and the settings they were read with."""

    data: Any  # `LabelledTexts` or `TaggedSentences`
    vocabulary: Any
    config: Any
    raw: None = None  # examples cannot come through standard input

    def __repr__(self) -> str:
        sizes = "/".join(f"{size:,}" for size in self.split_sizes)
        return f"<{type(self).__name__} {shown(self.name)}: {sizes} examples>"

    @property
    def name(self) -> str:
        """A short name, for run folders."""
        return str(self.data.name)

    @property
    def source(self) -> str:
        """The path that the examples were read from."""
        return str(self.data.source)

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how the examples were read, one line each."""
        return tuple(self.data.notices)

    @property
    def split_sizes(self) -> tuple[int, ...]:
        """The number of examples in train, valid and test."""
        return tuple(len(self.data.splits[name]) for name in SPLITS)

    def describe(self) -> dict[str, Any]:
        """The facts that tell this data from other data, for run.json."""
        facts = {"name": self.name, "source": self.source, "sha256": self.data.sha256}
        return {**facts, "split": list(self.split_sizes)}
