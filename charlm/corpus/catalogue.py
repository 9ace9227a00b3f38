"""The corpora known by name: what they are, where they come from, how they are used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """A file to download."""

    path: str  # relative to a corpora folder
    address: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A corpus of ``catalogue.toml``, bundled with the package or downloaded on demand.

    Only corpora for language models have a ``cleaning``, a ``split`` and ``prefixes``. Only
    corpora of one file have a ``sha256`` and a ``size`` in bytes, and only those of several
    have ``files``.
    """

    name: str
    title: str
    language: str
    description: str
    file: str  # the name of the file, or of the folder of several files
    licence: str
    citation: str
    task: str  # the name of the task that the corpus is for
    cleaning: str | None = None  # a name in ``CLEANINGS``
    split: tuple[float, float, float] | None = None  # as in ``split_sizes``
    split_in_bytes: bool = False  # the split counts bytes of UTF-8, not characters
    prefixes: tuple[str, ...] = ()  # the prefixes that samples continue
    address: str | None = None  # None for a bundled text
    sha256: str | None = None
    size: int | None = None
    files: tuple[CatalogueFile, ...] = ()
    member: str | None = None  # the name of the text in an archive
    text_sha256: str | None = None  # of the text in an archive

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


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The entries by name, the bundled ones first.

    >>> charlm.catalogue()["timemachine"].task
    'language-model'
    """
    tables = tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text("utf-8"))
    return {name: _entry(name, **table) for name, table in tables.items()}


def _entry(
    name: str, *, files: dict[str, dict[str, Any]] | None = None, **table: Any
) -> CatalogueEntry:
    """The entry of a table of ``catalogue.toml``, which has lists and relative file names."""
    table |= {key: tuple(table[key]) for key in ("split", "prefixes") if key in table}
    below = (
        CatalogueFile(
            f"{table['file']}/{path}",
            f"{table['address']}/{facts.get('source', path)}",
            facts["sha256"],
            facts["size"],
        )
        for path, facts in (files or {}).items()
    )
    return CatalogueEntry(name=name, files=tuple(below), **table)
