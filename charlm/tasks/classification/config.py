"""The settings of a classifier of texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from charlm.config.data import DataSection
from charlm.config.merging import Settings, TaskConfig
from charlm.config.network import SequenceNetworkSection
from charlm.config.settings import PROBABILITY, SIZE, check, setting
from charlm.config.training import TrainingSection
from charlm.tasks.from_run import FromRunSection, check_optimiser

FEATURES = ("last", "all", "mean", "max", "mean-max")

SETTINGS_FOR_CHARACTERS: Settings = {"corpus": {"length": 1_500}}  # about as much as 300 words
"""What suits texts that are read as characters better than the defaults."""

SETTINGS_FOR_PRETRAINED: Settings = {
    **SETTINGS_FOR_CHARACTERS,
    # The states of a language model vary little around large constants, and it was trained on whole
    # texts, without gaps in them.
    "model": {"standardise": True, "word_dropout": 0.0, "input_dropout": 0.0},
}
"""What suits a classifier that starts from a language model."""


@dataclass(frozen=True, kw_only=True)
class LabelledTextsSection(DataSection):
    """The labelled texts, and how they become sequences of token ids."""

    source: str = setting(
        "imdb",
        "The labelled texts: imdb; a folder or .tar.gz with train/LABEL/*.txt, or with LABEL.txt "
        "files of a text on each line; or a .csv, .tsv, .json, .jsonl or .parquet file.",
        option="--data",
        metavar="NAME|FOLDER|FILE",
    )
    text_column: str | None = setting(
        None,
        "Column of the texts in a table; a number if a .csv file has no header.",
        option="--text-column",
        metavar="NAME",
        none_means="the first of text, review, sentence, ...",
    )
    label_column: str | None = setting(
        None,
        "Column of the labels in a table; a number if a .csv file has no header.",
        option="--label-column",
        metavar="NAME",
        none_means="the first of label, sentiment, class, ...",
    )
    header: str = setting(
        "auto",
        "Whether the first row of a .csv or .tsv file names its columns. auto: it does if a name "
        "is known, or if none of its values occurs again in its column.",
        option="--header",
        choices=("auto", "yes", "no"),
    )
    valid: float = setting(
        0.1,
        "Fraction of the train texts used for validation, if the data has no valid split.",
        **PROBABILITY,
    )
    test: float = setting(
        0.1,
        "Fraction of the train texts used for the test, if the data has no test split.",
        **PROBABILITY,
    )
    tokens: str = setting(
        "words",
        "Read a text as lower-case words or as characters.",
        option="--tokens",
        choices=("words", "characters"),
    )
    punctuation: bool = setting(False, "Keep punctuation marks as words.")
    cleaning: str = setting(
        "none",
        "How a text is cleaned when it is read as characters; see charlm train.",
        choices=("letters", "spaces", "trim", "none"),
    )
    vocabulary_size: int | None = setting(
        20_000,
        "Number of word ids, padding and unknown included. The most frequent words of the train "
        "split have one.",
        none_means="all words",
        at_least=3,
        at_most=1_000_000,
    )
    length: int = setting(
        400,
        "Keep this many words or characters of a text; 1,500 by default with --tokens characters "
        "or --from-run.",
        option="--length",
        **SIZE,
    )
    cut: str = setting(
        "before",
        "Where a longer text is cut. before: keep its end. after: keep its start.",
        choices=("before", "after"),
    )


@dataclass(frozen=True, kw_only=True)
class ClassifierSection(FromRunSection, SequenceNetworkSection):
    """The classifier: embedding, recurrent layers, features of their outputs, output layer."""

    hidden_size: int = 64
    embedding: str = setting(
        "learned",
        "The input. learned: an embedding. one-hot: no embedding.",
        choices=("learned", "one-hot"),
    )
    ngrams: int = setting(
        2,
        "Add an embedding of the n tokens that end at each token, hashed, for n from 2 to this "
        "(Joulin et al. 2017); 1: none.",
        at_least=1,
        at_most=5,
    )
    buckets: int = setting(
        65_536, "Hash buckets for each n of ngrams.", at_least=1, at_most=10_000_000
    )
    ngram_order: int = setting(
        1,
        "With --from-run, the longest n-gram that the language model has an embedding of. It comes "
        "from the run.",
        at_least=1,
        at_most=16,
    )
    ngram_rows: int = setting(
        16_384,
        "Rows of the table of embeddings for each length of these n-grams.",
        at_least=1,
        at_most=10**7,
    )
    features: str = setting(
        "mean-max",
        "The features of a text, made from the outputs of the top layer. last: the last output of "
        "each direction. all: all outputs, concatenated. mean, max: the mean or the maximum over "
        "time. mean-max: both.",
        option="--features",
        choices=FEATURES,
    )
    padding: str = setting("after", "Where shorter texts are padded.", choices=("before", "after"))
    skip_padding: bool = setting(True, "Leave the padding out of the recurrent layers.")
    standardise: bool = setting(
        False,
        "Scale each feature to mean 0 and standard deviation 1 on the train texts; true by default "
        "with --from-run.",
    )
    dense_size: int = setting(
        0,
        "Units of a ReLU layer before the output layer; 0: there is none.",
        at_least=0,
        at_most=1_000_000,
    )
    initialisation: str = "glorot"
    input_dropout: float = 0.3
    dropout: float = 0.3
    output_dropout: float = 0.3
    weight_dropout: float = 0.0
    from_run: str | None = setting(
        None,
        "Start with the embedding and recurrent layers of this language model: the name or the "
        "folder of its run.",
    )
    freeze: bool = setting(
        False, "With --from-run, keep its layers fixed and train only the output layer."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.ngrams == 1 or self.embedding == "learned",
            f"model.ngrams is {self.ngrams}, but one-hot tokens have no vectors to add theirs to",
            "set model.ngrams=1, or model.embedding=learned",
        )
        check(
            self.ngram_order == 1 or self.from_run is not None,
            f"model.ngram_order is {self.ngram_order}, but no language model brings its n-grams",
            "set model.ngrams, or give --from-run a language model with n-grams",
        )

    def idle(self) -> dict[str, str]:
        """As in every network, and the rows of tables that there are not."""
        idle = super().idle()
        return idle if self.ngram_order > 1 else idle | {"ngram_rows": "there are no n-grams"}


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingSection(TrainingSection):
    """Optimisation, with defaults for some thousands of texts."""

    batch_size: int = 64
    epochs: int | None = 8
    minutes: float | None = None
    lr: float = 0.002
    beta2: float = 0.999
    class_weights: str | None = setting(
        None,
        "Weights of the labels in the training loss. balanced: texts / (labels * texts of the "
        "label). Or label=weight pairs with commas, such as spam=2,ham=0.5; other labels have 1.",
        option="--class-weights",
        metavar="balanced|LABEL=F,...",
        none_means="all labels have 1",
    )


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(TaskConfig):
    """The whole configuration of a classifier."""

    task: ClassVar[str] = "classify"
    corpus: LabelledTextsSection = field(default_factory=LabelledTextsSection)
    model: ClassifierSection = field(default_factory=ClassifierSection)
    training: ClassifierTrainingSection = field(default_factory=ClassifierTrainingSection)

    def __post_init__(self) -> None:
        if not self.model.freeze:
            check_optimiser(self.model.ngram_order, self.training.optimiser)
