"""The text of a run: what is noted of it, and whether another is the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.config import TextSection
from charlm.corpus import Corpus, load_corpus


def differences(noted: Mapping[str, Any], vocabulary: Any, corpus: Any) -> list[str]:
    """In what data is not the one that was noted, in words.

    Args:
        noted: what run.json says of it.
        vocabulary: the run's.
        corpus: it has a vocabulary, and ``describe`` says what run.json would.
    """
    found = corpus.describe()
    words = [
        f"{name} {_words(found[name])}, not {_words(noted.get(name, 'there'))}"
        for name in found
        if name not in ("name", "source") and found[name] != noted.get(name)
    ]
    if corpus.vocabulary != vocabulary:
        sizes = f"{len(corpus.vocabulary):,} entries, not the run's {len(vocabulary):,}"
        words.append(f"vocabulary of {sizes}")
    return words


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(f"{size:,}" for size in value)
    if isinstance(value, int):
        return f"{value:,}"
    return value if len(value) <= 12 else f"{value:.12}..."  # a digest


def load_run_corpus(config: TextSection, kept: Path | None, corpora_dir: Path | None) -> Corpus:
    """The corpus that a configuration describes.

    Args:
        kept: read this file in place of the configuration's source.

    Raises:
        CorpusError: as `charlm.corpus.load_corpus`.
        UsageError: likewise.
    """
    return load_corpus(
        config.source if kept is None else str(kept),
        corpora_dir=corpora_dir,
        cleaning=config.cleaning,
        encoding=config.encoding,
        max_chars=config.max_chars,
        vocabulary_from=config.vocabulary_from,
        split=config.split,
    )
