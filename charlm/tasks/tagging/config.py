"""The settings of a tagger of words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from charlm.config.data import DataSection
from charlm.config.merging import TaskConfig
from charlm.config.network import SequenceNetworkSection
from charlm.config.settings import SIZE, check, setting
from charlm.config.training import TrainingSection


@dataclass(frozen=True, kw_only=True)
class TaggedSentencesSection(DataSection):
    """The tagged sentences, and what the tagger sees of their words."""

    source: str = setting(
        "atis",
        "The tagged sentences: atis; a folder with seq.in and seq.out in each of train, valid and "
        "test; a folder with a file for each, such as train.txt, train.conllu or train.parquet; or "
        "a file with a word and its tag in each line, .conllu, .json, .jsonl, .csv or .parquet.",
        option="--data",
        metavar="NAME|FOLDER|FILE",
    )
    word_column: str | None = setting(
        None,
        "Column of the words: a name, or a number if the columns have no names.",
        option="--word-column",
        metavar="NAME|N",
        none_means="the first; form in CoNLL-U; the first of tokens, words, text, ... in a table",
    )
    tag_column: str | None = setting(
        None,
        "Column of the tags, or of spans with start, end and label: a name, or a number if the "
        "columns have no names. CoNLL-U has upos, xpos, feats, deprel and more.",
        option="--tag-column",
        metavar="NAME|N",
        none_means="the last; upos in CoNLL-U; the first of tags, ner_tags, ... in a table",
    )
    scheme: str = setting(
        "auto",
        "What the tags are of. spans: B-, I-, E-, S- and similar marks with the kind of a span, "
        "and O. words: each tag is of a word, such as a part of speech. auto: spans if the tags "
        "have such marks.",
        choices=("auto", "spans", "words"),
    )
    valid: float = setting(
        0.1,
        "Fraction of the train sentences used for validation, if the data has no valid split.",
        above=0,
        below=1,
    )
    min_count: int = setting(
        2,
        "Words that are rarer in the train split count as unknown, so the tagger learns to tag "
        "unknown words.",
        **SIZE,
    )
    ngrams: tuple[int, ...] = setting(
        (2, 3, 4),
        "Lengths of the character n-grams that are seen of each word, known or not.",
        none_means="no n-grams",
        none=(),
        at_least=1,
        at_most=100,
    )
    shapes: bool = setting(False, "See the shape of each word: capitals and digits.")
    buckets: int = setting(2_000, "Hash buckets for n-grams and shapes.", **SIZE)

    def __post_init__(self) -> None:
        super().__post_init__()
        length = len(self.ngrams)
        check(length <= 10, f"corpus.ngrams has {length} lengths; it can have at most ten")


@dataclass(frozen=True, kw_only=True)
class TaggerSection(SequenceNetworkSection):
    """The tagger: embedding, a window of words, recurrent layers, output layer."""

    hidden_size: int = 128
    embedding_size: int | None = setting(
        128, "Size of the embedding of a word.", none_means="hidden_size"
    )
    window: int = setting(
        0,
        "Number of neighbouring words on each side that the network sees at a step (Mesnil et al. "
        "2013).",
        option="--window",
        at_least=0,
        at_most=100,
    )
    input_dropout: float = 0.25
    dropout: float = 0.25
    output_dropout: float = 0.5
    weight_dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TaggerTrainingSection(TrainingSection):
    """Optimisation, with defaults for some thousands of sentences."""

    batch_size: int = 16
    epochs: int | None = 20
    minutes: float | None = None
    optimiser: str = "adam"
    lr: float = 0.002
    beta2: float = 0.999
    warmup: float = 0.0
    precision: str = "float32"


@dataclass(frozen=True, kw_only=True)
class TaggingConfig(TaskConfig):
    """The whole configuration of a tagger."""

    task: ClassVar[str] = "tag"
    corpus: TaggedSentencesSection = field(default_factory=TaggedSentencesSection)
    model: TaggerSection = field(default_factory=TaggerSection)
    training: TaggerTrainingSection = field(default_factory=TaggerTrainingSection)
