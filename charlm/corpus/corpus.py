"""A corpus ready for training: a text, cleaned, as ids of a vocabulary, in three splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.corpus.catalogue import LANGUAGE_MODEL, CatalogueEntry, catalogue
from charlm.corpus.cleaning import clean
from charlm.corpus.fetch import fetch, locate
from charlm.corpus.own_texts import corpus_names, find_added
from charlm.corpus.splits import DEFAULT_SPLIT, split_sizes
from charlm.corpus.text import read_text, source_words
from charlm.corpus.vocabulary import Vocabulary
from charlm.errors import CorpusError, UsageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "valid", "test")
"""The names of the splits, in their order in the text."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus:
    """A text as token ids; no character is in two splits."""

    name: str
    """A short name, for run folders."""
    source: str
    """Where the text was read from: a path, or ``-``."""
    cleaning: str
    """The name of the cleaning that it went through."""
    sha256: str
    """Of the raw text, as in ``SourceText``."""
    vocabulary: Vocabulary
    kept: str = field(repr=False)
    """The kept characters, N."""
    ids: NDArray[np.int64] = field(repr=False)
    """Their ids, (N,), read-only."""
    split_sizes: tuple[int, int, int]
    """Characters in train, valid and test; the sum is N."""
    notices: tuple[str, ...] = ()
    """What the user should know about how the text was read, one line each."""

    @property
    def characters(self) -> int:
        """The number of characters kept, N."""
        return len(self.ids)

    def describe(self) -> dict[str, Any]:
        """What tells it from other corpora, for run.json."""
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "cleaning": self.cleaning,
            "characters": self.characters,
            "split": list(self.split_sizes),
        }

    def split(self, name: str) -> NDArray[np.int64]:
        """The ids of split ``train``, ``valid`` or ``test``: a view of ``ids``, maybe empty.

        Raises:
            UsageError: no split has that name.
        """
        return self.ids[self._part(name)]

    def text(self, split: str) -> str:
        """The characters of a split, those that the vocabulary lacks too.

        Raises:
            UsageError: no split has that name.
        """
        return self.kept[self._part(split)]

    def _part(self, split: str) -> slice:
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}", did_you_mean(split, SPLITS))
        index = SPLITS.index(split)
        start = sum(self.split_sizes[:index])
        return slice(start, start + self.split_sizes[index])


def load_corpus(
    source: str,
    *,
    corpora_dir: Path | None = None,
    cleaning: str | None = None,
    encoding: str | None = None,
    max_chars: int | None = None,
    vocabulary_from: str = "whole",
    split: Sequence[float] | None = None,
    vocabulary: Vocabulary | None = None,
) -> Corpus:
    """Find, read, clean, encode and split a text.

    Args:
        source: a catalogue name; else a path (see ``read_text``); else the name of an added text.
            A file called like a catalogued corpus is named as a path: ``./timemachine``.
        corpora_dir: a folder to look in first and download to.
        cleaning: a name in ``CLEANINGS``; None is the catalogue's, ``none`` for any other text.
        encoding: as in ``read_text``.
        max_chars: keep the first so many characters of the cleaned text; None keeps all.
        vocabulary_from: ``whole``: the whole cleaned text, so that an id means the same whatever
            ``max_chars`` is, as d2l 0.17; ``kept``: the kept characters only, as d2l-zh v1.
        split: as in ``split_sizes``; None is the catalogue's, ``DEFAULT_SPLIT`` for any other
            text. Counts are scaled where ``max_chars`` cut the text, the catalogue's always.
        vocabulary: use this one, to evaluate a text with a trained model.

    Raises:
        CorpusError: the text is not found, cannot be read, or is empty after cleaning.
        FetchError: a catalogued text could not be downloaded.
        UsageError: an argument is not one of those above, or ``source`` is a corpus for another
            task.
    """
    _check_arguments(max_chars, vocabulary_from)
    entry = catalogue().get(source)
    if entry and entry.task != LANGUAGE_MODEL:
        raise UsageError(
            f"{entry.name} is no text for a language model, but data for charlm {entry.task}",
            entry.command,
        )
    path, found = _find(source, entry, corpora_dir)
    raw = read_text(path, encoding=encoding)
    if cleaning is None:
        cleaning = (entry and entry.cleaning) or "none"
    whole = _clean(raw.text, cleaning, path)
    kept = whole[:max_chars]
    sizes = split_sizes(
        len(kept),
        split if split is not None else (entry and entry.split) or DEFAULT_SPLIT,
        scale_counts=split is None or len(kept) < len(whole),
    )
    vocabulary = vocabulary or Vocabulary.from_text(whole if vocabulary_from == "whole" else kept)
    ids = vocabulary.encode(kept)
    ids.setflags(write=False)
    return Corpus(
        name=entry.name if entry else raw.name,
        source=str(path),
        cleaning=cleaning,
        sha256=raw.sha256,
        vocabulary=vocabulary,
        kept=kept,
        ids=ids,
        split_sizes=sizes,
        notices=(*found, *raw.notices, *_count_notices(kept, ids, max_chars)),
    )


def _check_arguments(max_chars: int | None, vocabulary_from: str) -> None:
    if max_chars is not None and max_chars < 1:
        raise UsageError(f"max_chars must be at least 1, not {max_chars}")
    if vocabulary_from not in ("whole", "kept"):
        hint = did_you_mean(vocabulary_from, ("whole", "kept"))
        raise UsageError(f"unknown vocabulary_from {vocabulary_from!r}", hint)


def find_catalogued(
    entry: CatalogueEntry, corpora_dir: Path | None
) -> tuple[Path, tuple[str, ...]]:
    """The path of a catalogued corpus, and a notice if it was downloaded.

    Raises:
        CorpusError: as ``locate`` and ``fetch``.
    """
    path = locate(entry, corpora_dir)
    if path:
        return path, ()
    path = fetch(entry, corpora_dir)
    return path, (f"downloaded {entry.name} from {entry.address} to {path}",)


def _find(
    source: str, entry: CatalogueEntry | None, corpora_dir: Path | None
) -> tuple[str | Path, tuple[str, ...]]:
    """The path of ``source``, and a notice if it was downloaded."""
    if entry:
        return find_catalogued(entry, corpora_dir)
    if source == "-" or Path(source).name != source or (source and os.path.exists(source)):
        return source, ()
    added = find_added(source, corpora_dir)
    if added is None:
        texts = (name for name, known in catalogue().items() if known.task == LANGUAGE_MODEL)
        raise CorpusError(
            f"no corpus, file or folder is called {source!r}",
            did_you_mean(source, (*texts, *corpus_names(corpora_dir))),
        )
    return added, ()


def _clean(text: str, cleaning: str, path: str | Path) -> str:
    cleaned = clean(text, cleaning)
    if not cleaned:
        raise CorpusError(
            f"nothing of {source_words(path)} is left after the cleaning {cleaning!r}",
            "try --cleaning none",
        )
    return cleaned


def _count_notices(kept: str, ids: NDArray[np.int64], max_chars: int | None) -> Iterator[str]:
    import numpy as np

    if max_chars is not None and max_chars > len(ids):
        yield f"the text has {len(ids):,} characters, fewer than {max_chars:,}: all kept"
    unknown = len(ids) - int(np.count_nonzero(ids))
    if unknown:
        yield f"{unknown:,} of {len(ids):,} characters are not in the vocabulary"
    elif len(ids) > 1 and ids.min() == ids.max():
        yield f"the text is {kept[0]!r} over and over, with no other character"
