"""The corpora known by name: what they are, where they come from, how they are used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

LANGUAGE_MODEL = "language-model"
"""The task of a text; other tasks are called as their command is."""


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """One file to download."""

    path: str
    """Its name, in a corpora folder; with the folder's, if it is one of several."""
    address: str
    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A corpus of ``catalogue.toml``: part of the package, or downloaded on demand.

    ``cleaning``, ``split`` and ``prefixes`` are a text's: a corpus for another task has none.
    """

    name: str
    title: str
    language: str
    description: str
    """One line."""
    file: str
    """The name of the file, or of the folder of several, in the package or a corpora folder."""
    licence: str
    citation: str
    task: str = LANGUAGE_MODEL
    """``language-model``, ``classify`` or ``tag``."""
    cleaning: str | None = None
    """A name in ``CLEANINGS``."""
    split: tuple[float, float, float] | None = None
    """Train, valid, test: fractions of the characters, or numbers of characters."""
    prefixes: tuple[str, ...] = ()
    """What samples start with."""
    address: str | None = None
    """Where it is downloaded from; None for a text that is part of the package."""
    sha256: str | None = None
    """Of the one file."""
    size: int | None = None
    """Of the one file in bytes."""
    files: tuple[CatalogueFile, ...] = ()
    """The files of a folder; empty for a corpus of one file."""
    member: str | None = None
    """For an archive, the name of the text inside."""
    text_sha256: str | None = None
    """For an archive, the SHA-256 of the text inside."""

    @property
    def bundled(self) -> bool:
        """Whether the text is part of the package."""
        return self.address is None

    @property
    def downloads(self) -> tuple[CatalogueFile, ...]:
        """All that is downloaded for it: the one file, or those of the folder."""
        if self.files or self.address is None or self.sha256 is None or self.size is None:
            return self.files
        return (CatalogueFile(self.file, self.address, self.sha256, self.size),)

    @property
    def command(self) -> str:
        """What trains on it."""
        if self.task == LANGUAGE_MODEL:
            return f"charlm train --corpus {self.name}"
        return f"charlm {self.task} train --data {self.name}"


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The entries by name, the bundled ones first."""
    from importlib.resources import files  # slow to import

    tables = tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text("utf-8"))
    return {name: _entry(name, **table) for name, table in tables.items()}


def _entry(
    name: str,
    *,
    split: list[float] | None = None,
    prefixes: list[str] | None = None,
    files: dict[str, dict[str, Any]] | None = None,
    **table: Any,
) -> CatalogueEntry:
    """An entry as its table has it: lists for tuples, the files by their names in the folder."""
    return CatalogueEntry(
        name=name,
        split=None if split is None else (split[0], split[1], split[2]),
        prefixes=tuple(prefixes or ()),
        files=tuple(
            CatalogueFile(
                path=f"{table['file']}/{path}", address=f"{table['address']}/{path}", **facts
            )
            for path, facts in (files or {}).items()
        ),
        **table,
    )
