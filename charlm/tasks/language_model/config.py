"""The settings of a language model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from charlm.config.data import DataSection
from charlm.config.merging import Settings, TaskConfig
from charlm.config.network import NetworkSection
from charlm.config.settings import COUNT, PROBABILITY, check, setting
from charlm.config.training import TrainingSection
from charlm.corpus.archives import TEXT_SUFFIXES
from charlm.tasks.from_run import FromRunSection, check_optimiser

# How ``charlm generate`` samples by default. docs/decoding.md compares other values.
TEMPERATURE = 0.8
TOP_P = 0.8


@dataclass(frozen=True, kw_only=True)
class TextSection(DataSection):
    """The text of a language model, and how it is read."""

    source: str = setting(
        "traveller",
        "The text: the name of a corpus (see charlm corpus list), a text file, a folder of text "
        "files, or - for standard input.",
        option="--corpus",
        metavar="NAME|FILE|FOLDER",
    )
    include: tuple[str, ...] = setting(
        (),
        "In a folder, read only files that match this glob, such as *.py. It is compared with a "
        "file's name, its path in the folder, and the folders above it.",
        option="--include",
        metavar="GLOB",
        none_means="all files of plain text",
    )
    exclude: tuple[str, ...] = setting(
        (),
        "In a folder, leave out files that match this glob.",
        option="--exclude",
        metavar="GLOB",
        none_means="none",
    )
    cleaning: str | None = setting(
        None,
        "How the text is cleaned. letters: lower-case a to z and single spaces; spaces: line "
        "breaks become spaces; trim: no spaces at the ends of lines; none: nothing is changed.",
        option="--cleaning",
        choices=("letters", "spaces", "trim", "none"),
        none_means="the corpus's own; for your own text: none",
    )
    lines: bool = setting(
        False,
        "Take each line as an example with a start and an end: names, tweets, molecules, commit "
        "messages. Lines are shuffled before the split, and the state starts anew at each.",
        option="--lines",
    )
    distinct: bool = setting(False, "With --lines, keep only the first of equal lines.")
    max_chars: int | None = setting(
        None,
        "Keep only the first N characters of the cleaned text; with --lines, whole lines.",
        option="--max-chars",
        none_means="all",
        at_least=1,
        at_most=10**12,
    )
    vocabulary_from: str = setting(
        "whole",
        "Make the vocabulary from the whole text (d2l 0.17), or only from the max_chars "
        "characters that are kept.",
        choices=("whole", "kept"),
    )
    min_count: int = setting(
        1,
        "Leave characters that occur less often than this out of the vocabulary: they are unknown "
        "to the model. A large text has thousands of characters that occur once or twice.",
        at_least=1,
        at_most=10**9,
    )
    split: tuple[float, ...] | None = setting(
        None,
        "Sizes of the train, valid and test splits: three fractions with the sum 1, or numbers of "
        "characters; with --lines, of lines.",
        none_means="the corpus's own; for your own text: 0.9,0.05,0.05",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.split is None or len(self.split) == 3,
            f"corpus.split has {len(self.split or ())} parts; it needs three: train, valid, test",
        )
        check(
            all(part >= 0 for part in self.split or ()),
            f"not a split: {', '.join(map(str, self.split or ()))}",
            "give train, valid and test as three fractions that sum to 1, or three counts",
        )
        check(
            not (self.lines and self.cleaning == "spaces"),
            "--cleaning spaces removes the line ends that --lines needs",
            "give only one of them",
        )


@dataclass(frozen=True, kw_only=True)
class LanguageModelSection(FromRunSection, NetworkSection):
    """The language model: embedding, recurrent layers, output layer."""

    embedding: str = setting(
        "learned",
        "The input. one-hot: no embedding. learned: an embedding of its own. tied: the transposed "
        "weights of the output layer (Press and Wolf 2017).",
        choices=("one-hot", "learned", "tied"),
    )
    ngram_order: int = setting(
        1,
        "The longest n-gram of characters with an embedding, which is added to that of the last "
        "character; the output layer sees their sum too (after Mikolov et al. 2011). 1: only "
        "single characters.",
        at_least=1,
        at_most=16,
    )
    ngram_rows: int = setting(
        16_384,
        "Rows of the table of embeddings for each length of n-grams; a hash chooses the row.",
        at_least=1,
        at_most=10**7,
    )
    ngram_dropout: float = setting(
        0.0, "Probability that an n-gram is left out at a step of training.", **PROBABILITY
    )
    embedding_dropout: float = setting(
        0.0,
        "Probability that a character's embedding is zero, drawn once per batch (Gal and "
        "Ghahramani 2016; Merity et al. 2018).",
        **PROBABILITY,
    )
    activation: float = setting(
        0.0,
        "Activation regularisation: this times the mean square of the outputs of the layers, after "
        "dropout, is added to the loss (Merity et al. 2017).",
        at_least=0,
    )
    temporal_activation: float = setting(
        0.0,
        "Temporal activation regularisation: this times the mean square of the change of the "
        "outputs from step to step is added to the loss (Merity et al. 2017).",
        at_least=0,
    )
    past_decode: float = setting(
        0.0,
        "Past-decode regularisation: the last character is decoded from the distribution of the "
        "next one, and this times the cross-entropy is added to the loss (Brahma 2018).",
        at_least=0,
    )
    freeze: bool = setting(
        False,
        "With --from-run, keep its recurrent layers fixed and train only the embedding and the "
        "output layer.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.embedding == "learned" or self.embedding_size in (None, self.hidden_size),
            f"model.embedding_size is {self.embedding_size}, but the embedding is "
            f"{self.embedding}: only a learned one has a size of its own",
            "set model.embedding=learned, or leave the size out",
        )
        check(
            not (self.past_decode and self.embedding == "one-hot"),
            "model.past_decode needs an embedding, and the input is one-hot",
            "set model.embedding=learned or tied",
        )
        check(
            self.embedding == "learned" or not self.skip or self.num_layers == 1,
            f"model.skip with several layers needs a learned embedding, not {self.embedding}",
            "set model.embedding=learned, or leave model.skip out",
        )
        check(
            self.ngram_order == 1 or self.embedding == "learned",
            f"model.ngram_order is {self.ngram_order}, but the embedding is {self.embedding}: "
            "n-grams are added to a learned one",
            "set model.embedding=learned, or leave model.ngram_order out",
        )

    def idle(self) -> dict[str, str]:
        """As of every network, and what needs an embedding or n-grams that there are not."""
        idle = super().idle()
        if self.embedding == "one-hot":
            idle["embedding_dropout"] = idle["input_dropout"]
        if self.ngram_order == 1:
            reason = "model.ngram_order is 1, so there are no embeddings of n-grams"
            idle |= dict.fromkeys(("ngram_rows", "ngram_dropout"), reason)
        return idle


@dataclass(frozen=True, kw_only=True)
class LanguageTrainingSection(TrainingSection):
    """Optimisation, the batches of a text, and the samples."""

    sampling: str = setting(
        "consecutive",
        "How batches are drawn. consecutive: each batch continues where the one before ended, and "
        "the hidden state is carried over. random: sequences in random order, each from a zero "
        "state.",
        option="--sampling",
        choices=("random", "consecutive"),
    )
    seq_len: int = setting(
        64,
        "Length of a sequence in characters, for truncated back-propagation through time. With "
        "--lines, a longer line is read in equal parts of at most this length.",
        option=("--seq-len", "--num-steps"),
        **COUNT,
    )
    offset: str = setting(
        "random",
        "Where an epoch starts in the text. random: within the first seq_len characters, drawn "
        "anew for each epoch (d2l 0.17). none: at the first character (first Chinese edition).",
        choices=("random", "none"),
    )
    drop_last: bool = setting(
        False, "With random sampling, leave out the last batch if it is smaller than the others."
    )
    mix_ngram: bool = setting(
        False,
        "Keep an n-gram of the train split with the run, and mix it with the network. The weights "
        "of the mixture are chosen on the validation split at the end of the training.",
        option="--mix-ngram",
        resumable=True,
    )
    prefixes: tuple[str, ...] = setting(
        (),
        "Text that a sample continues. With --set, commas separate several texts.",
        option="--prefix",
        none_means="the corpus's own, or the start of the validation text; with --lines, the start "
        "of a line",
        resumable=True,
        incidental=True,
    )
    sample_every: int | None = setting(
        None,
        "Epochs between samples.",
        none_means="about five times in all",
        resumable=True,
        incidental=True,
        **COUNT,
    )
    sample_length: int = setting(
        100,
        "Characters of a sample after its prefix.",
        resumable=True,
        incidental=True,
        at_least=0,
        at_most=10**6,
    )
    sample_temperature: float = setting(
        0.7, "Temperature of the samples; 0: greedy.", resumable=True, incidental=True, at_least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        length = sum(map(len, self.prefixes))
        ok = length <= 10**5
        check(ok, f"training.prefixes have {length:,} characters; they must have at most 100,000")


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(TaskConfig):
    """The whole configuration of a language model."""

    task: ClassVar[str] = "language-model"
    # Before there was --include, these files of a folder were read.
    unwritten: ClassVar[Settings] = {
        "corpus": {"include": tuple(f"*{suffix}" for suffix in TEXT_SUFFIXES)}
    }
    corpus: TextSection = field(default_factory=TextSection)
    model: LanguageModelSection = field(default_factory=LanguageModelSection)
    training: LanguageTrainingSection = field(default_factory=LanguageTrainingSection)

    def __post_init__(self) -> None:
        check_optimiser(self.model.ngram_order, self.training.optimiser)

    def idle(self) -> dict[tuple[str, str], str]:
        """As every task's, and the settings of a running text or of lines."""
        idle = super().idle()
        if self.corpus.lines:
            reason = "with --lines, each batch has whole lines of similar lengths"
            return idle | {("training", k): reason for k in ("sampling", "offset", "drop_last")}
        return idle | {("corpus", "distinct"): "it is for --lines"}
