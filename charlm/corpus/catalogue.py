"""The corpora known by name: what they are, where they come from, how they are used."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A corpus of ``catalogue.toml``: part of the package, or downloaded on demand."""

    name: str
    title: str
    language: str
    description: str
    """One line."""
    file: str
    """The file's name, in the package or in a corpora folder."""
    cleaning: str
    """A name in ``CLEANINGS``."""
    split: tuple[float, float, float]
    """Train, valid, test: fractions of the characters, or numbers of characters."""
    prefixes: tuple[str, ...]
    """What samples start with."""
    licence: str
    citation: str
    address: str | None = None
    """Where it is downloaded from; None for a text that is part of the package."""
    sha256: str | None = None
    """Of the file; None for a text that is part of the package."""
    size: int | None = None
    """Of the file in bytes; None for a text that is part of the package."""
    member: str | None = None
    """For an archive, the name of the text inside."""
    text_sha256: str | None = None
    """For an archive, the SHA-256 of the text inside."""

    @property
    def bundled(self) -> bool:
        """Whether the text is part of the package."""
        return self.address is None


@cache
def catalogue() -> dict[str, CatalogueEntry]:
    """The entries by name, the bundled ones first."""
    from importlib.resources import files  # slow to import

    tables = tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text("utf-8"))
    for table in tables.values():
        table.update(split=tuple(table["split"]), prefixes=tuple(table["prefixes"]))
    return {name: CatalogueEntry(name=name, **table) for name, table in tables.items()}
