"""The text that ``charlm inspect`` reads: a split of the run's corpus, or another text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.corpus.splits import chosen_split
from charlm.errors import shown
from charlm.tasks import LANGUAGE_MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.runs import Run
    from charlm.tasks.language_model.corpus import Corpus

SHORTEST = 3  # characters that a split must have


@dataclass(frozen=True)
class Source:
    """The options that choose a text."""

    text: str | None
    split: str | None
    length: int | None
    corpora_dir: Path | None
    encoding: str | None = None
    """of ``text``"""

    def read(
        self, run: Run, length: int, corpus: Corpus | None = None
    ) -> tuple[NDArray[np.integer], str, str | None, str]:
        """The ids and the characters, the name of the split, and where they are from, for people.

        Args:
            length: characters, by default.
            corpus: the run's, if it was read before.
        """
        if self.text is not None:
            other = LANGUAGE_MODEL.own_text(run, self.text, self.encoding)
            part, split, where = "train", None, shown(self.text)
        else:
            corpus = corpus or run.load_corpus(self.corpora_dir)
            part = split = chosen_split(self.split, corpus.split_sizes, SHORTEST)
            other, where = corpus, f"{corpus.name}, {split} split"
        ids, characters = other.read(part)
        most = self.length or length
        return ids[:most], characters[:most], split, where
