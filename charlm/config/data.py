"""The data settings that all tasks share."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.settings import Section, setting


@dataclass(frozen=True, kw_only=True)
class DataSection(Section, section="corpus"):
    """The source of the data."""

    # The data may have moved when a training is resumed; its hash is compared.
    source: str = setting("", "The data.", resumable=True, incidental=True)
    encoding: str | None = setting(
        None, "Encoding of your own data.", option="--encoding", metavar="NAME", none_means="UTF-8"
    )
