"""Labelled texts ready for training: as ids of words or characters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config import LabelledTextsSection
from charlm.corpus.cleaning import clean
from charlm.corpus.examples import Examples
from charlm.corpus.labelled_texts import MAX_LABELS, LabelledTexts, load_labelled
from charlm.corpus.vocabulary import Vocabulary
from charlm.corpus.words import WordVocabulary, split_words
from charlm.errors import CorpusError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ReviewVocabulary:
    """What a classifier knows: its tokens, words or characters, and its labels."""

    tokens: WordVocabulary | Vocabulary
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """The number of token ids."""
        return len(self.tokens)

    @property
    def unknown(self) -> int:
        """The id of a token that is not in the vocabulary."""
        return 1 if isinstance(self.tokens, WordVocabulary) else 0

    def encode(self, text: str, config: LabelledTextsSection) -> NDArray[np.int64]:
        """The ids of what is kept of a text, (T,); a text without a token is one unknown."""
        import numpy as np

        ids = self.tokens.encode(tokens_of(text, config))  # type: ignore[arg-type]
        if not len(ids):
            return np.array([self.unknown])
        return ids[-config.length :] if config.cut == "before" else ids[: config.length]

    def to_json(self) -> dict[str, Any]:
        """Tokens and labels, for JSON."""
        kind = "words" if isinstance(self.tokens, WordVocabulary) else "characters"
        return {kind: self.tokens.to_json(), "labels": list(self.labels)}

    @classmethod
    def from_json(cls, data: object) -> ReviewVocabulary:
        """The vocabulary that ``to_json`` wrote.

        Raises:
            CorpusError: ``data`` is not one.
        """
        if isinstance(data, dict) and len(data) == 2:
            labels = data.get("labels")
            if (
                isinstance(labels, list)
                and all(isinstance(label, str) for label in labels)
                and 1 < len(set(labels)) == len(labels) <= MAX_LABELS
            ):
                if "words" in data:
                    return cls(WordVocabulary.from_json(data["words"]), tuple(labels))
                if "characters" in data:
                    return cls(Vocabulary.from_json(data["characters"]), tuple(labels))
        raise CorpusError(
            "it is not a list of tokens and one of labels",
            "restore the file from where it was written, or train again",
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Reviews(Examples):
    """Labelled texts and the vocabulary that they are read with."""

    data: LabelledTexts
    vocabulary: ReviewVocabulary
    config: LabelledTextsSection
    _encoded: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict, repr=False)

    def ids(self, split: str) -> list[NDArray[np.int32]]:
        """The token ids of each text of a split, (T,) each."""
        if split not in self._encoded:
            self._encoded[split] = [
                self.vocabulary.encode(text.text, self.config).astype("int32")
                for text in self.data.splits[split]
            ]
        return self._encoded[split]

    def labels(self, split: str) -> list[int]:
        """The label of each text of a split, by its place in the vocabulary's ``labels``."""
        return [text.label for text in self.data.splits[split]]


def tokens_of(text: str, config: LabelledTextsSection) -> list[str] | str:
    """The words of a text, or its characters."""
    if config.tokens == "words":
        return split_words(text, punctuation=config.punctuation)
    return clean(text, config.cleaning)


def load_reviews(
    config: LabelledTextsSection,
    corpora_dir: Path | None = None,
    *,
    tokens: WordVocabulary | Vocabulary | None = None,
) -> Reviews:
    """Find, read and split labelled texts, and make their vocabulary.

    Args:
        corpora_dir: a folder to look in first and download to.
        tokens: those that a trained model knows; None: those of the train split.

    Raises:
        CorpusError: as `load_labelled`.
        FetchError: likewise.
        UsageError: likewise.
    """
    texts = load_labelled(
        config.source,
        corpora_dir=corpora_dir,
        encoding=config.encoding,
        valid=config.valid,
        test=config.test,
        text_column=config.text_column,
        label_column=config.label_column,
    )
    if tokens is None:
        train = (tokens_of(text.text, config) for text in texts.splits["train"])
        if config.tokens == "words":
            tokens = WordVocabulary.from_words(train, size=config.vocabulary_size)
        else:
            tokens = Vocabulary.from_text("".join(map(str, train)))
    return Reviews(data=texts, vocabulary=ReviewVocabulary(tokens, texts.labels), config=config)
