"""A corpus ready for training: a cleaned text as token ids, in three splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.corpus.cleaning import clean
from charlm.corpus.sources import find_source
from charlm.corpus.splits import DEFAULT_SPLIT, SPLITS, byte_split, split_sizes
from charlm.corpus.text import read_text, source_words
from charlm.corpus.vocabulary import Vocabulary
from charlm.errors import CorpusError, UsageError, did_you_mean, shown
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.lines import BOUNDARY, read_lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text as token ids. No character is in two splits.

    With ``lines``, each split consists of whole lines, in shuffled order, each with its line end.
    """

    name: str  # a short name, for run folders
    source: str  # the path of the text, or ``-`` for standard input
    cleaning: str  # the name of the cleaning
    sha256: str  # the hash of the raw text, as in ``SourceText``
    vocabulary: Vocabulary
    kept: str = field(repr=False)  # the N characters after cleaning and ``max_chars``
    ids: NDArray[np.int64] = field(repr=False)  # the ids of ``kept``, (N,), read-only
    split_sizes: tuple[int, int, int]  # characters in train, valid and test; they sum to N
    lines: bool = False  # whether each line is an example
    notices: tuple[str, ...] = ()  # what the user should know about the reading, one line each
    warnings: tuple[str, ...] = ()  # what may be a mistake, one line each
    raw: bytes | None = field(default=None, repr=False)  # standard input; None for other sources

    def __repr__(self) -> str:
        sizes = "/".join(f"{size:,}" for size in self.split_sizes)
        return f"<Corpus {shown(self.name)}: {sizes} characters, {len(self.vocabulary):,} distinct>"

    @property
    def characters(self) -> int:
        """N, the number of characters."""
        return len(self.ids)

    def describe(self) -> dict[str, Any]:
        """The facts that identify the corpus, for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "cleaning": self.cleaning,
            "characters": self.characters,
            "split": list(self.split_sizes),
        }

    def split(self, name: str) -> NDArray[np.int64]:
        """The ids of a split, (length,), as a view of ``ids``; a UsageError for another name."""
        return self.ids[self._part(name)]

    def read(self, split: str) -> tuple[NDArray[np.int64], str]:
        """The ids and the characters of a split, of which all but the first can be predicted.

        With ``lines``, a line end comes before the first line, as before all others.
        """
        if not self.lines:
            return self.split(split), self.text(split)
        text = BOUNDARY + self.text(split)
        return self.vocabulary.encode(text), text

    def lines_of(self, split: str) -> list[str]:
        """The lines of a split without their line ends."""
        return self.text(split).split(BOUNDARY)[:-1]

    def all_lines(self) -> list[str]:
        """The lines of all splits without their line ends."""
        return self.kept.split(BOUNDARY)[:-1]

    def text(self, split: str) -> str:
        """The characters of a split, known or not; a UsageError as in ``split``."""
        return self.kept[self._part(split)]

    def _part(self, split: str) -> slice:
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}", did_you_mean(split, SPLITS))
        index = SPLITS.index(split)
        start = sum(self.split_sizes[:index])
        return slice(start, start + self.split_sizes[index])


def load_corpus(
    source: str | Path,
    *,
    corpora_dir: str | Path | None = None,
    cleaning: str | None = None,
    encoding: str | None = None,
    lines: bool = False,
    distinct: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_chars: int | None = None,
    vocabulary_from: str = "whole",
    split: Sequence[float] | None = None,
    vocabulary: Vocabulary | None = None,
    progress: bool = False,
) -> Corpus:
    """Find, read, clean, encode and split a text.

    Args:
        source, corpora_dir, progress: as in ``find_source``.
        cleaning: a name in ``CLEANINGS``; None is the catalogue's cleaning, or ``none``.
        encoding, include, exclude: as in ``read_text``.
        lines: take each line as an example; see `read_lines`, also for ``distinct``.
        max_chars: the number of characters of the cleaned text to keep; None keeps all.
        vocabulary_from: ``whole`` takes the vocabulary from the whole cleaned text, so that ids
            do not depend on ``max_chars``, as d2l 0.17 does; ``kept`` takes it from the kept
            characters, as d2l-zh v1 does.
        split: as in ``split_sizes``, of characters or of lines; None is the catalogue's split, or
            ``DEFAULT_SPLIT``. Counts are scaled if ``max_chars`` shortened the text; the
            catalogue's counts always are.
        vocabulary: the vocabulary to use, to evaluate a text with a trained model.

    Raises:
        CorpusError: the text is not found, cannot be read, or is empty after cleaning.
        FetchError: a catalogued text could not be downloaded.
        UsageError: an argument is invalid, or the catalogued corpus is for another task.
    """
    if max_chars is not None and max_chars < 1:
        raise UsageError(f"max_chars must be at least 1, not {max_chars}")
    if vocabulary_from not in ("whole", "kept"):
        hint = did_you_mean(vocabulary_from, ("whole", "kept"))
        raise UsageError(f"unknown vocabulary_from {vocabulary_from!r}", hint)
    found = find_source(
        source, LanguageModelConfig.task, corpora_dir, texts=True, progress=progress
    )
    entry = found.entry
    raw = read_text(found.path, encoding=encoding, include=include, exclude=exclude)
    if cleaning is None:
        cleaning = (entry and entry.cleaning) or "none"
    parts: Sequence[float] = (entry and entry.split) or DEFAULT_SPLIT if split is None else split
    notices = [*found.notices, *raw.notices]
    if lines:
        whole, kept, sizes, about = read_lines(
            raw.text,
            source_words(found.path),
            cleaning,
            distinct=distinct,
            max_chars=max_chars,
            split=parts,
            scale_counts=split is None,
        )
        notices += about
    else:
        whole = clean(raw.text, cleaning)
        if not whole:
            raise CorpusError(
                f"the cleaning {cleaning!r} leaves nothing of {source_words(found.path)}",
                "try --cleaning none"
                if vocabulary is None
                else "the model was trained on a text with this cleaning; score a text like it",
            )
        kept = whole[:max_chars]
        if split is None and entry and entry.split and entry.split_in_bytes:
            parts = byte_split(whole, entry.split)
        scale_counts = split is None or len(kept) < len(whole)
        sizes = split_sizes(len(kept), parts, scale_counts=scale_counts)
    vocabulary = vocabulary or Vocabulary.from_text(whole if vocabulary_from == "whole" else kept)
    ids = vocabulary.encode(kept)
    ids.setflags(write=False)
    return Corpus(
        name=found.name,
        source=str(found.path),
        cleaning=cleaning,
        sha256=raw.sha256,
        vocabulary=vocabulary,
        kept=kept,
        ids=ids,
        split_sizes=sizes,
        lines=lines,
        notices=(*notices, *_count_notices(len(whole), kept, ids, max_chars)),
        warnings=raw.warnings,
        raw=raw.raw,
    )


def _count_notices(
    length: int, kept: str, ids: NDArray[np.int64], max_chars: int | None
) -> Iterator[str]:
    import numpy as np

    if max_chars is not None and max_chars > length:
        yield f"the text has {length:,} characters, fewer than {max_chars:,}: all kept"
    unknown = len(ids) - int(np.count_nonzero(ids))
    if unknown:
        yield f"{unknown:,} of {len(ids):,} characters are not in the vocabulary"
    elif len(ids) > 1 and ids.min() == ids.max():
        yield f"the text repeats {kept[0]!r} and has no other character"
