"""Preparing the prefix that a model continues."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from charlm.corpus import Vocabulary, clean
from charlm.errors import UsageError


@dataclass(frozen=True)
class Prefix:
    """A cleaned and encoded prefix, with notices for the user."""

    text: str  # the prefix after the corpus's cleaning
    ids: tuple[int, ...]  # token ids; a character that is not in the vocabulary has the id of <unk>
    notices: tuple[str, ...]  # what was changed or unknown, one line each


def prepare_prefix(prefix: str, cleaning: str, vocabulary: Vocabulary) -> Prefix:
    """The prefix, cleaned as the corpus was and encoded; a UsageError if nothing is left of it."""
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
    """The characters with their code points and Unicode names, separated by commas."""
    return ", ".join(
        f"{character!r} U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
        for character in characters
    )
