"""Tagged sentences ready for training: words, features of their spelling, and tags, as ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.corpus.words import WordVocabulary, ngram_ids, normalise_word, word_shape
from charlm.errors import CorpusError
from charlm.tasks.examples import Examples
from charlm.tasks.tagging.config import TaggedSentencesSection
from charlm.tasks.tagging.spans import is_iob
from charlm.tasks.tagging.tagged_sentences import (
    MAX_CHARACTERS,
    MAX_TAGS,
    TaggedSentences,
    is_tag,
    load_tagged,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TaggerVocabulary:
    """The words and tags of a tagger."""

    words: WordVocabulary
    tags: tuple[str, ...]

    def __len__(self) -> int:
        """The number of word ids."""
        return len(self.words)

    def encode_words(self, words: Iterable[str]) -> NDArray[np.int64]:
        """The ids of words in normal form, (N,); 1 for an unknown word."""
        return self.words.encode(map(normalise_word, words))

    def encode_tags(self, tags: Iterable[str]) -> list[int]:
        """The ids of tags; -1 for an unknown tag."""
        ids = {tag: index for index, tag in enumerate(self.tags)}
        return [ids.get(tag, -1) for tag in tags]

    def tags_are_of_words(self, config: TaggedSentencesSection) -> bool:
        """Whether each tag is of a single word, not of a span."""
        return config.scheme == "words" or not all(map(is_iob, self.tags))

    def to_json(self) -> dict[str, Any]:
        """Words and tags, for JSON."""
        return {"words": self.words.to_json(), "tags": list(self.tags)}

    @classmethod
    def from_json(cls, data: object) -> TaggerVocabulary:
        """The vocabulary that ``to_json`` wrote.

        Raises:
            CorpusError: ``data`` is not such a vocabulary.
        """
        if isinstance(data, dict) and data.keys() == {"words", "tags"}:
            tags = data["tags"]
            if (
                isinstance(tags, list)
                and 0 < len(tags) <= MAX_TAGS
                and all(isinstance(tag, str) and is_tag(tag) for tag in tags)
                and all(len(tag) <= MAX_CHARACTERS for tag in tags)
                and len(set(tags)) == len(tags)
            ):
                return cls(WordVocabulary.from_json(data["words"]), tuple(tags))
        raise CorpusError(
            "it is not a list of words and a list of tags",
            "restore the file from a backup, or train again",
        )


def parts_of(word: str, config: TaggedSentencesSection) -> list[int]:
    """The ids of a word's character n-grams and shape, for known and unknown words alike."""
    parts = ngram_ids(normalise_word(word), config.ngrams, config.buckets)
    if config.shapes:
        shape = f"shape {word_shape(word)}"
        parts += ngram_ids(shape, (len(shape) + 2,), config.buckets)  # one id for the whole shape
    return parts


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Slots(Examples):
    """Tagged sentences and their vocabulary."""

    data: TaggedSentences
    vocabulary: TaggerVocabulary
    config: TaggedSentencesSection


def load_slots(
    config: TaggedSentencesSection, corpora_dir: str | Path | None = None, *, progress: bool = False
) -> Slots:
    """Tagged sentences, found and read as `load_tagged` does, with the train split's vocabulary."""
    data = load_tagged(
        config.source,
        corpora_dir=corpora_dir,
        encoding=config.encoding,
        valid=config.valid,
        word_column=config.word_column,
        tag_column=config.tag_column,
        scheme=config.scheme,
        progress=progress,
    )
    train = (map(normalise_word, sentence.words) for sentence in data.splits["train"])
    words = WordVocabulary.from_words(train, min_count=config.min_count)
    return Slots(data=data, vocabulary=TaggerVocabulary(words, data.tags), config=config)
