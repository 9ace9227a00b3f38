"""The text of a run: what is noted of it, and whether another is the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from charlm.config import CorpusConfig
from charlm.corpus import Corpus, Vocabulary, load_corpus


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """What run.json says of a corpus."""
    return {
        "name": corpus.name,
        "source": corpus.source,
        "cleaning": corpus.cleaning,
        "sha256": corpus.sha256,
        "characters": corpus.characters,
        "split": list(corpus.split_sizes),
    }


def differences(noted: Mapping[str, Any], vocabulary: Vocabulary, corpus: Corpus) -> list[str]:
    """In what a corpus is not the one that was noted, in words."""
    found = describe_corpus(corpus)
    shown: dict[str, Callable[[Any], str]] = {
        "sha256": lambda digest: f"{digest:.12}...",
        "cleaning": str,
        "characters": lambda number: f"{number:,}",
        "split": lambda sizes: "/".join(f"{size:,}" for size in sizes),
    }
    words = [
        f"{name} {show(found[name])}, not {show(noted[name])}"
        for name, show in shown.items()
        if found[name] != noted[name]
    ]
    if corpus.vocabulary != vocabulary:
        sizes = f"{len(corpus.vocabulary):,} entries, not the run's {len(vocabulary):,}"
        words.append(f"vocabulary of {sizes}")
    return words


def load_run_corpus(config: CorpusConfig, kept: Path | None, corpora_dir: Path | None) -> Corpus:
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
