"""Labelled texts ready for training: as ids of words or characters."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.config.settings import check_known
from charlm.corpus.cleaning import clean
from charlm.corpus.vocabulary import Vocabulary
from charlm.corpus.words import WordVocabulary, split_words
from charlm.errors import CorpusError, UsageError, shown
from charlm.tasks.classification.config import LabelledTextsSection
from charlm.tasks.classification.labelled_texts import MAX_LABELS, LabelledTexts, load_labelled
from charlm.tasks.examples import Examples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ReviewVocabulary:
    """The tokens (words or characters) and labels of a classifier."""

    tokens: WordVocabulary | Vocabulary
    labels: tuple[str, ...]

    def __len__(self) -> int:
        """The number of token ids."""
        return len(self.tokens)

    @property
    def unknown(self) -> int:
        """The id of an unknown token."""
        return 1 if isinstance(self.tokens, WordVocabulary) else 0

    def encode(self, text: str, config: LabelledTextsSection) -> NDArray[np.int64]:
        """The ids of the first or last tokens of a text, (T,); the unknown id if it has none."""
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
            CorpusError: ``data`` is not such a vocabulary.
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
            "it is not a list of tokens and a list of labels",
            "restore the file from a backup, or train again",
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Reviews(Examples):
    """Labelled texts and their vocabulary."""

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
        """The label of each text of a split, as an index into the vocabulary's ``labels``."""
        return [text.label for text in self.data.splits[split]]

    def class_weights(self, wanted: str) -> dict[str, float]:
        """The weight of each label in the training loss, from the setting ``class_weights``.

        With "balanced" each label has the same sum of weights over the train split, and the mean
        weight of a text is 1; a label without train texts has weight 0.

        Raises:
            UsageError: ``wanted`` is neither "balanced" nor pairs of a label and a weight.
        """
        labels = self.vocabulary.labels
        if wanted == "balanced":
            counts = Counter(self.labels("train"))
            share = counts.total() / len(counts)
            return {label: share / (counts[i] or inf) for i, label in enumerate(labels)}
        weights = dict.fromkeys(labels, 1.0)
        example = f"balanced, or pairs such as {labels[0]}=2,{labels[1]}=0.5"
        # A label may have commas and equals signs.
        pairs = re.findall(r"(.+?)=([^=,]+)(?:,|$)", wanted)
        if not pairs or ",".join(map("=".join, pairs)) != wanted.rstrip(","):
            raise UsageError(f"training.class_weights is {shown(wanted)}", f"it can be {example}")
        for label, number in pairs:
            check_known(label.strip(), labels, "label in training.class_weights")
            try:
                weight = float(number)
            except ValueError:
                weight = nan
            if not 0 < weight < inf:
                raise UsageError(
                    f"training.class_weights has {shown(number)} for {shown(label)}",
                    f"a weight is a number above 0: {example}",
                )
            weights[label.strip()] = weight
        return weights


def tokens_of(text: str, config: LabelledTextsSection) -> list[str] | str:
    """The words or characters of a text."""
    if config.tokens == "words":
        return split_words(text, punctuation=config.punctuation)
    return clean(text, config.cleaning)


def load_reviews(
    config: LabelledTextsSection,
    corpora_dir: str | Path | None = None,
    *,
    tokens: WordVocabulary | Vocabulary | None = None,
    progress: bool = False,
) -> Reviews:
    """Labelled texts, found, read and split as `load_labelled` does, with their vocabulary.

    ``tokens`` are those of a trained model; None takes the tokens of the train split.
    """
    texts = load_labelled(
        config.source,
        corpora_dir=corpora_dir,
        encoding=config.encoding,
        valid=config.valid,
        test=config.test,
        text_column=config.text_column,
        label_column=config.label_column,
        header=config.header,
        progress=progress,
    )
    if tokens is None:
        train = (tokens_of(text.text, config) for text in texts.splits["train"])
        if config.tokens == "words":
            tokens = WordVocabulary.from_words(train, size=config.vocabulary_size)
        else:
            tokens = Vocabulary.from_text("".join(map(str, train)))
    return Reviews(data=texts, vocabulary=ReviewVocabulary(tokens, texts.labels), config=config)
