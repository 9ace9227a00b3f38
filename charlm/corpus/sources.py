"""The path of a corpus that is given by a name or a path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.added_texts import corpus_names, find_added
from charlm.corpus.catalogue import LANGUAGE_MODEL, CatalogueEntry, catalogue, find_entry
from charlm.corpus.fetch import fetch, locate
from charlm.corpus.text import short_name
from charlm.errors import CorpusError, did_you_mean, shown


class Source(NamedTuple):
    """Where a corpus is read from."""

    path: str | Path
    """A file or folder, or ``-`` for standard input."""
    entry: CatalogueEntry | None = None
    """The entry of a catalogued corpus."""
    notices: tuple[str, ...] = ()
    """What the user should know, one line each."""

    @property
    def name(self) -> str:
        """A short name, for run folders."""
        return self.entry.name if self.entry else short_name(self.path)


def find_source(
    source: str, task: str, corpora_dir: Path | None = None, *, progress: bool = False
) -> Source:
    """The path of a corpus; a catalogued corpus is downloaded if it is not on this machine.

    Args:
        source: a catalogue name; else a path; else, for language models, the name of an added
            text. A path that equals a catalogue name is written with a folder: ``./timemachine``.
        task: the task that the corpus is for.
        corpora_dir: a folder to look in first and to download to.
        progress: show a progress bar during a download if standard error is a terminal.

    Raises:
        CorpusError: no corpus, file or folder has that name.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: the catalogued corpus is for another task.
    """
    entry = find_entry(source, task)
    if entry:
        path = locate(entry, corpora_dir)
        if path:
            return Source(path, entry)
        path = fetch(entry, corpora_dir, progress=progress)
        notice = f"downloaded {entry.name} from {entry.address} to {path}"
        return Source(path, entry, (notice,))
    texts = task == LANGUAGE_MODEL
    exists = Path(source).name != source or (source and os.path.exists(source))
    if exists or (texts and source == "-"):
        return Source(source)
    added = find_added(source, corpora_dir) if texts else None
    if added is None:
        known = [name for name, other in catalogue().items() if other.task == task]
        if texts:
            known += corpus_names(corpora_dir)
        raise CorpusError(
            f"no corpus, file or folder is called {shown(source)}", did_you_mean(source, known)
        )
    return Source(added)
