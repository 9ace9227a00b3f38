"""The settings of a language model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from charlm.config.checks import (
    check,
    check_at_most,
    check_choice,
    check_not_negative,
    check_positive,
)
from charlm.config.merging import Layer, TaskConfig
from charlm.config.network import NetworkConfig
from charlm.config.training import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Which text, and how it is read."""

    source: str = "traveller"
    """a name of the catalogue, a file, a folder, or - for standard input"""
    cleaning: str | None = None
    """letters, spaces or none; None: the corpus's own, and none for an own text"""
    encoding: str | None = None
    """of an own text; None: UTF-8"""
    max_chars: int | None = None
    """characters kept, from the start, after cleaning; None: all"""
    vocabulary_from: Literal["whole", "kept"] = "whole"
    """whole: from the whole text, as d2l 0.17; kept: from the first ``max_chars`` only"""
    split: tuple[float, ...] | None = None
    """train, valid, test: fractions that sum to 1, or numbers of characters; None: the
    corpus's own, and 0.9, 0.05, 0.05 for an own text"""

    def __post_init__(self) -> None:
        check_choice("corpus.vocabulary_from", self.vocabulary_from, ("whole", "kept"))
        check_positive("corpus.max_chars", self.max_chars)
        check_at_most("corpus.max_chars", self.max_chars, 10**12)
        check(
            self.split is None or len(self.split) == 3,
            f"corpus.split has {len(self.split or ())} parts; it needs three: train, valid, test",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """The language model: input, recurrent layers, head."""

    embedding: str = "learned"
    """one-hot: none, the token picks a row of the input weights; learned: a table of its own;
    tied: the head's weights, transposed (Press and Wolf 2017)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("model.embedding", self.embedding, ("one-hot", "learned", "tied"))
        check(
            self.embedding == "learned" or self.embedding_size in (None, self.hidden_size),
            f"model.embedding_size is {self.embedding_size}, but the embedding is "
            f"{self.embedding}: only a learned one has a size of its own",
            "set model.embedding=learned, or leave the size out",
        )


@dataclass(frozen=True, kw_only=True)
class LanguageTrainingConfig(TrainingConfig):
    """Batches of a text, and what is sampled on the way."""

    sampling: str = "consecutive"
    """consecutive: each batch goes on where the last one ended and the state is carried;
    random: subsequences in shuffled order, the state zero at each batch"""
    seq_len: int = 64
    """steps of truncated back-propagation through time"""
    offset: str = "random"
    """where an epoch starts: random: within the first ``seq_len`` characters, drawn anew for
    each epoch (d2l 0.17); none: at the first character (v1 of the book)"""
    drop_last: bool = False
    """random sampling only: leave out the last batch where it is smaller (the book does)"""
    prefixes: tuple[str, ...] = ()
    """samples start with these; none given: the corpus's own, else the held-out text's start"""
    sample_every: int | None = None
    """epochs from one set of samples to the next; None: about five sets in all"""
    sample_length: int = 100
    """characters after each prefix"""
    sample_temperature: float = 0.7
    """0: greedy, as the book"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("training.sampling", self.sampling, ("random", "consecutive"))
        check_choice("training.offset", self.offset, ("random", "none"))
        for name in ("seq_len", "sample_every"):
            check_positive(f"training.{name}", getattr(self, name))
            check_at_most(f"training.{name}", getattr(self, name), 10**9)
        for name in ("sample_length", "sample_temperature"):
            check_not_negative(f"training.{name}", getattr(self, name))
        check_at_most("training.sample_length", self.sample_length, 10**6)
        length = sum(map(len, self.prefixes))
        ok = length <= 10**5
        check(ok, f"training.prefixes have {length:,} characters; they must have at most 100,000")


@dataclass(frozen=True, kw_only=True)
class Config(TaskConfig):
    """Everything that a run of a language model is made of."""

    task: ClassVar[str] = "language-model"
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: LanguageTrainingConfig = field(default_factory=LanguageTrainingConfig)


def layer_for_text(train_characters: int, vocabulary_size: int) -> Layer:
    """What suits a text better than the defaults: the lowest layer of ``charlm train``.

    The defaults suit a novel. A shorter text is learned by heart sooner, and so is one of many
    characters, as in Chinese, where most of them are rare: they take more dropout, and sharing
    the embedding of many characters with the head helps. Of a long text, a short training sees
    each part but a few times, and dropout only slows it down. docs/results.md has what this
    reaches.
    """
    many = vocabulary_size > 256
    model: dict[str, Any] = {"embedding": "tied"} if many else {}
    if train_characters > 500_000:
        model |= {"input_dropout": 0.0, "output_dropout": 0.1, "weight_dropout": 0.0}
    elif many or train_characters < 50_000:
        model |= {"input_dropout": 0.4 if many else 0.2}
        model |= {"output_dropout": 0.6, "weight_dropout": 0.5}
    return {"model": model}
