"""Texts that the user added to a corpora folder, as ``<name>.txt``."""

from __future__ import annotations

import os
from pathlib import Path

from charlm.corpus.catalogue import catalogue
from charlm.corpus.fetch import corpora_folders, writable_folder, write_corpus
from charlm.corpus.text import TextReader, short_name
from charlm.corpus.text_files import check_characters, reading
from charlm.errors import CorpusError


def corpus_names(corpora_dir: str | Path | None = None) -> tuple[str, ...]:
    """The names of the added texts in all corpora folders, sorted."""
    catalogued = {entry.file for entry in catalogue().values()}
    files = {file for folder in corpora_folders(corpora_dir) for file in folder.glob("*.txt")}
    return tuple(sorted({file.stem for file in files if file.name not in catalogued}))


def find_added(name: str, corpora_dir: str | Path | None = None) -> Path | None:
    """The file of an added text, in the first corpora folder that has it."""
    files = (folder / f"{name}.txt" for folder in corpora_folders(corpora_dir))
    return next(filter(os.path.isfile, files), None)


def add_text(
    source: str | Path,
    corpora_dir: str | Path | None = None,
    *,
    encoding: str | None = None,
    warnings: list[str] | None = None,
) -> Path:
    r"""Copy a text into a corpora folder, as UTF-8 with ``\n`` line ends, and return its new path.

    The folder is the first writable one of ``corpora_dir``, ``$CHARLM_CORPORA`` and ``corpora``
    in the working folder. Adding the same text again changes nothing. ``warnings`` receives what
    may be a mistake, such as a folder of which most files were skipped.

    Raises:
        CorpusError: the source is not a readable text, or its name belongs to another corpus.
        UsageError: the encoding is unknown.
    """
    reader, name = TextReader(source, encoding=encoding), short_name(source)
    encoded, characters = list[bytes](), 0
    for piece in reader.pieces():
        check_characters(piece, source, characters)
        encoded.append(piece.encode())
        characters += len(piece)
    if warnings is not None:
        warnings += reader.warnings
    # On some file systems TimeMachine.txt and timemachine.txt are the same file.
    if name.casefold() in catalogue():
        raise CorpusError(
            f"the name {name} is taken by a catalogued corpus", "rename the file first"
        )
    data = b"".join(encoded)
    path = writable_folder(corpora_dir, otherwise=Path("corpora")) / f"{name}.txt"
    with reading(path):
        old = path.read_bytes() if path.exists() else None
    if old is None:
        write_corpus(path, data)
    elif old != data:
        raise CorpusError(
            f"{path} exists and is another text", "rename the file, or delete the old text"
        )
    return path
