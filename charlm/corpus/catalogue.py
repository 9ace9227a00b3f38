"""The corpora known by name: what they are, where they come from, how they are used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from charlm.errors import UsageError

LANGUAGE_MODEL = "language-model"
CLASSIFY = "classify"
TAG = "tag"


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """A file to download."""

    path: str
    """Relative to a corpora folder; for a corpus of several files, it starts with its folder."""
    address: str
    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A corpus of ``catalogue.toml``, bundled with the package or downloaded on demand.

    Only corpora for language models have a ``cleaning``, a ``split`` and ``prefixes``.
    """

    name: str
    title: str
    language: str
    description: str
    """One line."""
    file: str
    """The name of the file, or of the folder of several files."""
    licence: str
    citation: str
    task: str = LANGUAGE_MODEL
    """``LANGUAGE_MODEL``, ``CLASSIFY`` or ``TAG``."""
    cleaning: str | None = None
    """A name in ``CLEANINGS``."""
    split: tuple[float, float, float] | None = None
    """Train, valid, test: fractions of the characters, or numbers of characters."""
    prefixes: tuple[str, ...] = ()
    """The prefixes that samples continue."""
    address: str | None = None
    """The download address; None for a bundled text."""
    sha256: str | None = None
    """The SHA-256 of the file, for a corpus of one file."""
    size: int | None = None
    """The size of the file in bytes, for a corpus of one file."""
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
        """The files to download; empty for a bundled text."""
        if self.files or self.address is None or self.sha256 is None or self.size is None:
            return self.files
        return (CatalogueFile(self.file, self.address, self.sha256, self.size),)

    @property
    def command(self) -> str:
        """The command that trains on the corpus."""
        if self.task == LANGUAGE_MODEL:
            return f"charlm train --corpus {self.name}"
        return f"charlm {self.task} train --data {self.name}"


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The entries by name, the bundled ones first."""
    from importlib.resources import files  # slow to import

    tables = tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text("utf-8"))
    return {name: _entry(name, **table) for name, table in tables.items()}


def find_entry(name: str, task: str) -> CatalogueEntry | None:
    """The entry of that name, or None if the catalogue does not have the name.

    Raises:
        UsageError: the corpus is for another task.
    """
    entry = catalogue().get(name)
    if entry is not None and entry.task != task:
        raise UsageError(
            f"{name} is a corpus for the task {entry.task}, not {task}", f"use {entry.command}"
        )
    return entry


def _entry(
    name: str,
    *,
    split: list[float] | None = None,
    prefixes: list[str] | None = None,
    files: dict[str, dict[str, Any]] | None = None,
    **table: Any,
) -> CatalogueEntry:
    """The entry of a table of ``catalogue.toml``, which has lists and relative file names."""
    return CatalogueEntry(
        name=name,
        split=None if split is None else (split[0], split[1], split[2]),
        prefixes=tuple(prefixes or ()),
        files=tuple(
            CatalogueFile(f"{table['file']}/{path}", f"{table['address']}/{path}", **facts)
            for path, facts in (files or {}).items()
        ),
        **table,
    )
