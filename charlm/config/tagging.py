"""The settings of a tagger of words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from charlm.config.checks import check, check_at_most, check_part, check_positive
from charlm.config.merging import TaskConfig
from charlm.config.network import NetworkConfig
from charlm.config.training import TrainingConfig
from charlm.errors import shown


@dataclass(frozen=True, kw_only=True)
class SlotsConfig:
    """Which tagged sentences, and what is seen of their words."""

    source: str = "atis"
    """a name of the catalogue, or a folder"""
    encoding: str | None = None
    """of an own folder; None: UTF-8"""
    valid: float = 0.1
    """fraction of the train sentences that is held out, where there is no valid split"""
    min_count: int = 2
    """a word of the train split that is rarer counts as unknown, so that unknown ones are known"""
    ngrams: tuple[int, ...] = (2, 3, 4)
    """lengths of the character n-grams that are seen of a word, known or not; none: no n-grams"""
    shapes: bool = False
    """whether the shape of a word is seen: capitals, digits"""
    buckets: int = 2_000
    """that n-grams and shapes are hashed into"""

    def __post_init__(self) -> None:
        check(0 < self.valid < 1, f"corpus.valid is {self.valid}; it must be between 0 and 1")
        for name in ("min_count", "buckets"):
            check_positive(f"corpus.{name}", getattr(self, name))
            check_at_most(f"corpus.{name}", getattr(self, name), 1_000_000)
        ok = len(self.ngrams) <= 10 and all(0 < size <= 100 for size in self.ngrams)
        check(ok, "corpus.ngrams must be at most ten lengths, each from 1 to 100")


@dataclass(frozen=True, kw_only=True)
class TaggerConfig(NetworkConfig):
    """The tagger: embedding, a window of words, recurrent layers, head."""

    hidden_size: int = 128
    embedding_size: int | None = 128
    """features of a word"""
    bidirectional: bool = True
    """whether each layer reads both ways, by ``hidden_size`` units each"""
    window: int = 0
    """words to each side that are seen at a step, as Mesnil et al. 2013"""
    initialisation: str = "torch"
    input_dropout: float = 0.25
    dropout: float = 0.25
    output_dropout: float = 0.5
    weight_dropout: float = 0.0
    word_dropout: float = 0.1
    """probability that a word is made unknown, in training"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_part("model.word_dropout", self.word_dropout)
        ok = 0 <= self.window <= 100
        check(ok, f"model.window is {shown(self.window)}; it must be from 0 to 100")


@dataclass(frozen=True, kw_only=True)
class TaggerTrainingConfig(TrainingConfig):
    """As of all tasks, with what suits some thousands of sentences."""

    batch_size: int = 16
    epochs: int | None = 20
    minutes: float | None = None
    optimiser: str = "adam"
    lr: float = 0.002
    beta2: float = 0.999
    warmup: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True, kw_only=True)
class TagConfig(TaskConfig):
    """Everything that a run of a tagger is made of."""

    task: ClassVar[str] = "tag"
    corpus: SlotsConfig = field(default_factory=SlotsConfig)
    model: TaggerConfig = field(default_factory=TaggerConfig)
    training: TaggerTrainingConfig = field(default_factory=TaggerTrainingConfig)
