"""The settings of a classifier of texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from charlm.config.checks import check, check_at_most, check_choice, check_part, check_positive
from charlm.config.merging import TaskConfig
from charlm.config.network import NetworkConfig
from charlm.config.training import TrainingConfig
from charlm.errors import shown

FEATURES = ("last", "all", "mean", "max", "mean-max")


@dataclass(frozen=True, kw_only=True)
class ReviewsConfig:
    """Which labelled texts, and how they become sequences."""

    source: str = "imdb"
    """a name of the catalogue, a folder, an archive, or a file of texts and labels"""
    encoding: str | None = None
    """of an own source; None: UTF-8"""
    text_column: str | None = None
    """of a CSV or JSON-lines file; None: the first of text, review, sentence, ..."""
    label_column: str | None = None
    """None: the first of label, sentiment, class, ..."""
    valid: float = 0.1
    """fraction of the train texts that is held out, where the source has no valid split"""
    test: float = 0.1
    """likewise, for the test split"""
    tokens: str = "words"
    """words, lower-cased; or characters"""
    punctuation: bool = False
    """whether punctuation marks are words too"""
    cleaning: str = "none"
    """of characters: letters, spaces or none"""
    vocabulary_size: int | None = 20_000
    """ids of words in all, padding and unknown included: the most frequent of the train split"""
    length: int = 400
    """tokens that are kept of a text"""
    cut: str = "before"
    """where a longer text is cut: before what is kept (its end), or after it (its start)"""

    def __post_init__(self) -> None:
        check_choice("corpus.tokens", self.tokens, ("words", "characters"))
        check_choice("corpus.cleaning", self.cleaning, ("letters", "spaces", "none"))
        check_choice("corpus.cut", self.cut, ("before", "after"))
        check_part("corpus.valid", self.valid)
        check_part("corpus.test", self.test)
        for name in ("vocabulary_size", "length"):
            check_positive(f"corpus.{name}", getattr(self, name))
            check_at_most(f"corpus.{name}", getattr(self, name), 1_000_000)
        ok = self.vocabulary_size is None or self.vocabulary_size > 2
        check(ok, f"corpus.vocabulary_size is {self.vocabulary_size}; it must be at least 3")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(NetworkConfig):
    """The classifier: embedding, recurrent layers, features of their outputs, head."""

    hidden_size: int = 64
    bidirectional: bool = True
    """whether each layer reads both ways, by ``hidden_size`` units each"""
    embedding: str = "learned"
    """learned: a table; one-hot: none, the token picks a row of the input weights"""
    ngrams: int = 2
    """2: each pair of neighbouring tokens has a vector too, hashed; 3: triples too; 1: none"""
    buckets: int = 65_536
    """that they are hashed into"""
    features: str = "mean-max"
    """of the top layer's outputs: last: the one after the last token (of each direction); all:
    all of them, side by side; mean, max: over time; mean-max: both"""
    padding: str = "after"
    """where shorter texts are filled up"""
    skip_padding: bool = True
    """whether the recurrent layers leave the padding out"""
    standardise: bool = False
    """whether each feature is brought to mean 0 and deviation 1 on the train texts; with
    ``from_run`` it is, unless told"""
    dense_size: int = 0
    """units (ReLU) between the features and the head; 0: none"""
    initialisation: str = "glorot"
    input_dropout: float = 0.3
    dropout: float = 0.3
    output_dropout: float = 0.3
    weight_dropout: float = 0.0
    word_dropout: float = 0.1
    """probability that a token is made unknown, in training"""
    from_run: str | None = None
    """a run of a language model whose embedding and recurrent layers are the first ones here"""
    tune: bool = True
    """whether embedding and recurrent layers learn; if not, the head alone does"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.embedding", self.embedding, ("learned", "one-hot"))
        check_choice("model.features", self.features, FEATURES)
        check_choice("model.padding", self.padding, ("before", "after"))
        check_part("model.word_dropout", self.word_dropout)
        ok = 0 <= self.dense_size <= 1_000_000
        check(ok, f"model.dense_size is {shown(self.dense_size)}; it must be from 0 to 1,000,000")
        ok = 1 <= self.ngrams <= 5
        check(ok, f"model.ngrams is {shown(self.ngrams)}; it must be from 1 to 5")
        check(
            self.ngrams == 1 or self.embedding == "learned",
            f"model.ngrams is {self.ngrams}, but one-hot tokens have no vectors to add theirs to",
            "set model.ngrams=1, or model.embedding=learned",
        )
        check_positive("model.buckets", self.buckets)
        check_at_most("model.buckets", self.buckets, 10_000_000)
        check(
            self.tune or self.from_run is not None,
            "model.tune is false, but nothing has been learned that could stay as it is",
            "give --from-run a language model",
        )


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingConfig(TrainingConfig):
    """As of all tasks, with what suits some thousands of texts."""

    batch_size: int = 64
    epochs: int | None = 8
    minutes: float | None = None
    lr: float = 0.002
    beta2: float = 0.999


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(TaskConfig):
    """Everything that a run of a classifier is made of."""

    task: ClassVar[str] = "classify"
    corpus: ReviewsConfig = field(default_factory=ReviewsConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    training: ClassifierTrainingConfig = field(default_factory=ClassifierTrainingConfig)
