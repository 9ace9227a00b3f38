"""Texts of the user's own, kept by name in a corpora folder as ``<name>.txt``."""

from __future__ import annotations

import os
from pathlib import Path

from charlm.atomic_files import write_atomic
from charlm.corpus.catalogue import catalogue
from charlm.corpus.fetch import corpora_folders, writable_folder
from charlm.corpus.text import read_text
from charlm.errors import CorpusError


def corpus_names(corpora_dir: Path | None = None) -> tuple[str, ...]:
    """The names of the added texts in all corpora folders, sorted."""
    catalogued = {entry.file for entry in catalogue().values()}
    files = {file for folder in corpora_folders(corpora_dir) for file in folder.glob("*.txt")}
    return tuple(sorted({file.stem for file in files if file.name not in catalogued}))


def find_added(name: str, corpora_dir: Path | None = None) -> Path | None:
    """The file of the added text of that name, in the first corpora folder that has it."""
    files = (folder / f"{name}.txt" for folder in corpora_folders(corpora_dir))
    return next((file for file in files if os.path.isfile(file)), None)


def add_text(
    source: str | Path, corpora_dir: Path | None = None, *, encoding: str | None = None
) -> Path:
    r"""Copy a text into a corpora folder, as UTF-8 with ``\n`` line ends; its new path.

    The folder is the first that can be written to of ``corpora_dir``, ``$CHARLM_CORPORA`` and
    ``corpora`` in the working folder. A text that is there already stays as it is.

    Raises:
        CorpusError: not a readable text, its name is a catalogued one, or another text has it.
        UsageError: no such encoding.
    """
    text = read_text(source, encoding=encoding)
    # Some file systems take TimeMachine.txt for timemachine.txt.
    if text.name.casefold() in catalogue():
        raise CorpusError(
            f"the name {text.name} is taken by a catalogued corpus", "rename the file first"
        )
    try:
        data = text.text.encode()
    except UnicodeEncodeError as error:  # UTF-7 and the like can spell lone surrogates
        raise CorpusError(
            f"{source} has U+{ord(text.text[error.start]):04X}, half a character, "
            f"at character offset {error.start:,}: no UTF-8 can hold it",
            "repair the text, or name another encoding",
        ) from error
    path = writable_folder(corpora_dir, otherwise=Path("corpora")) / f"{text.name}.txt"
    try:
        if path.exists():
            if path.read_bytes() == data:
                return path
            raise CorpusError(
                f"{path} exists and is another text", "rename the file, or delete the old text"
            )
        write_atomic(path, data)
    except OSError as error:
        raise CorpusError(f"cannot write {path}: {error.strerror}", "check the folder") from error
    return path
