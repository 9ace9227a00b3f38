"""The path of a corpus that is given by a name or a path."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from charlm.corpus.added_texts import corpus_names, find_added
from charlm.corpus.addresses import check_is_no_address
from charlm.corpus.catalogue import CatalogueEntry, catalogue
from charlm.corpus.fetch import fetch, locate
from charlm.corpus.text import short_name
from charlm.errors import CorpusError, UsageError, did_you_mean, shown


class Source(NamedTuple):
    """Where a corpus is read from."""

    path: str | Path
    """A file or folder, or ``-`` for standard input."""
    entry: CatalogueEntry | None = None
    notices: tuple[str, ...] = ()
    """What the user should know, one line each."""

    @property
    def name(self) -> str:
        """A short name, for run folders."""
        return self.entry.name if self.entry else short_name(self.path)


def find_source(
    source: str | Path,
    task: str,
    corpora_dir: str | Path | None = None,
    *,
    texts: bool = False,
    progress: bool = False,
) -> Source:
    """The path of a corpus; a catalogued corpus is downloaded if it is not on this machine.

    Args:
        source: a catalogue name; else a path; else, with ``texts``, the name of an added text, or
            ``-``. A path that equals a catalogue name is written with a folder: ``./timemachine``.
            A ``Path`` is always a path.
        corpora_dir: a folder to look in first and to download to.
        texts: whether the task reads plain texts: added ones and standard input.
        progress: show a progress bar during a download if standard error is a terminal.

    Raises:
        CorpusError: no corpus, file or folder has that name, or it is a web address.
        FetchError: a catalogued corpus could not be downloaded.
        UsageError: the catalogued corpus is for another task.
    """
    if isinstance(source, Path):
        return Source(source)
    if entry := catalogue().get(source):
        if entry.task != task:
            raise UsageError(
                f"{source} is a corpus for the task {entry.task}, not {task}",
                f"charlm corpus show {source} says how to use it",
            )
        if path := locate(entry, corpora_dir):
            return Source(path, entry)
        path = fetch(entry, corpora_dir, progress=progress)
        notice = f"downloaded {entry.name} from {entry.address} to {path}"
        return Source(path, entry, (notice,))
    check_is_no_address(source)
    exists = Path(source).name != source or (source and os.path.exists(source))
    if exists or (texts and source == "-"):
        return Source(source)
    if texts and (added := find_added(source, corpora_dir)):
        return Source(added)
    known = [name for name, other in catalogue().items() if other.task == task]
    if texts:
        known += corpus_names(corpora_dir)
    here: list[str] = []
    with suppress(OSError):  # the working folder may be gone
        here = os.listdir()
    raise CorpusError(
        f"no corpus, file or folder is called {shown(source)}",
        did_you_mean(source, [*known, *here], f"known: {', '.join(known)}"),
    )
