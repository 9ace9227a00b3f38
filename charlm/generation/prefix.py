"""A prefix as the model may read it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from charlm.corpus import Vocabulary, clean
from charlm.errors import UsageError


@dataclass(frozen=True)
class Prefix:
    """What a prefix became, and what the user should know of it."""

    text: str
    """after the corpus's cleaning"""
    ids: tuple[int, ...]
    """its token ids; <unk> for what the vocabulary lacks"""
    notices: tuple[str, ...]
    """one line each"""


def prepare_prefix(prefix: str, cleaning: str, vocabulary: Vocabulary) -> Prefix:
    """Clean a prefix as the corpus was cleaned, and encode it.

    Raises:
        UsageError: nothing is left of it.
    """
    text = clean(prefix, cleaning)
    if not text:
        left = "is empty" if not prefix else f"has nothing left after the cleaning {cleaning!r}"
        raise UsageError(f"the prefix {prefix!r} {left}", "give --prefix some characters")
    notices = []
    if text != prefix:
        notices.append(f"the prefix was cleaned as the corpus was ({cleaning}): {text!r}")
    unknown = vocabulary.unknown_characters(text)
    if unknown:
        notices.append(
            "not in the vocabulary, the model reads <unk> instead: " + describe_characters(unknown)
        )
    return Prefix(text, tuple(vocabulary.encode(text).tolist()), tuple(notices))


def describe_characters(characters: Iterable[str]) -> str:
    """Each character with its code point and name, for a message."""
    return ", ".join(
        f"{character!r} U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
        for character in characters
    )
