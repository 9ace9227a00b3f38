"""What a run is made of: three frozen sections, read from TOML, JSON and ``KEY=VALUE``.

A configuration is built up in layers, each a plain mapping of section to keys to values: the
defaults below, then a preset, then the user's file, then the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import stat
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from charlm.errors import UsageError, shown

CELLS = ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm", "lstm-peephole", "jordan")
SCRATCH_ONLY = {
    "gru-reset-before": "nn.GRU resets after the product",
    "lstm-peephole": "nn.LSTM has no peepholes",
    "jordan": "torch has no Jordan network",
}

Layer = Mapping[str, Mapping[str, Any]]


def _check(ok: bool, message: str, hint: str | None = None) -> None:
    if not ok:
        raise UsageError(message, hint)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    _check(value in choices, f"{name} is {shown(value)}; it can be {', '.join(choices)}")


def _check_positive(name: str, value: float | None) -> None:
    # False for a NaN; and a whole number may be too large to become a float.
    ok = value is None or 0 < value < math.inf
    _check(ok, f"{name} is {shown(value)}; it must be more than 0, and finite")


def _check_at_most(name: str, value: int | None, limit: int) -> None:
    # Far beyond any use, so that a damaged configuration is refused and nothing hangs.
    ok = value is None or value <= limit
    _check(ok, f"{name} is {shown(value)}; it must be at most {limit:,}")


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
        _check_choice("corpus.vocabulary_from", self.vocabulary_from, ("whole", "kept"))
        _check_positive("corpus.max_chars", self.max_chars)
        _check_at_most("corpus.max_chars", self.max_chars, 10**12)
        _check(
            self.split is None or len(self.split) == 3,
            f"corpus.split has {len(self.split or ())} parts; it needs three: train, valid, test",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The language model: input, recurrent layers, head."""

    cell: str = "lstm"
    """the recurrent cell: rnn (tanh), rnn-relu, gru (reset after the product, as torch),
    gru-reset-before (as the book and the first paper), lstm, lstm-peephole, jordan"""
    backend: str = "torch"
    """torch: nn.RNN, nn.GRU, nn.LSTM; scratch: the equations, step by step"""
    hidden_size: int = 384
    """units of each recurrent layer"""
    num_layers: int = 1
    embedding: str = "learned"
    """one-hot: none, the token picks a row of the input weights; learned: a table of its own;
    tied: the head's weights, transposed (Press and Wolf 2017)"""
    embedding_size: int | None = None
    """features of a learned embedding; None: 64, or ``hidden_size`` where that is less"""
    initialisation: str = "torch"
    """torch: uniform in +-1/sqrt(hidden_size); book: normal with deviation 0.01, biases 0"""
    input_dropout: float = 0.05
    """probability, on the embedded input; the same units at every step"""
    dropout: float = 0.3
    """probability, between recurrent layers; the same units at every step"""
    output_dropout: float = 0.5
    """probability, before the head; the same units at every step"""
    weight_dropout: float = 0.3
    """probability, on the hidden-to-hidden weights (Merity et al. 2018), once per batch"""

    def __post_init__(self) -> None:
        _check_choice("model.cell", self.cell, CELLS)
        _check_choice("model.backend", self.backend, ("torch", "scratch"))
        _check_choice("model.embedding", self.embedding, ("one-hot", "learned", "tied"))
        _check_choice("model.initialisation", self.initialisation, ("torch", "book"))
        for name in ("hidden_size", "num_layers", "embedding_size"):
            _check_positive(f"model.{name}", getattr(self, name))
            limit = 100 if name == "num_layers" else 1_000_000
            _check_at_most(f"model.{name}", getattr(self, name), limit)
        for name in ("input_dropout", "dropout", "output_dropout", "weight_dropout"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"model.{name} is {value}; it must be from 0 to below 1")
        _check(
            self.backend == "scratch" or self.cell not in SCRATCH_ONLY,
            f"the cell {self.cell} has no torch layer: {SCRATCH_ONLY.get(self.cell)}",
            "add --backend scratch, or take another --cell",
        )
        _check(
            self.embedding == "learned" or self.embedding_size in (None, self.hidden_size),
            f"model.embedding_size is {self.embedding_size}, but the embedding is "
            f"{self.embedding}: only a learned one has a size of its own",
            "set model.embedding=learned, or leave the size out",
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Batches, optimisation, and what is shown on the way."""

    sampling: str = "consecutive"
    """consecutive: each batch goes on where the last one ended and the state is carried;
    random: subsequences in shuffled order, the state zero at each batch"""
    seq_len: int = 64
    """steps of truncated back-propagation through time"""
    batch_size: int = 16
    offset: str = "random"
    """where an epoch starts: random: within the first ``seq_len`` characters, drawn anew for
    each epoch (d2l 0.17); none: at the first character (v1 of the book)"""
    drop_last: bool = False
    """random sampling only: leave out the last batch where it is smaller (the book does)"""
    epochs: int | None = 40
    """times through the train split"""
    minutes: float | None = 1.6
    """wall time of training, validation and samples included. Where there are epochs too,
    training ends with what comes first. Setting one of them unsets the other; with epochs alone,
    a seed gives the same weights again on the same machine"""
    optimiser: str = "adamw"
    """sgd, adam or adamw"""
    lr: float = 0.006
    """learning rate, at its highest"""
    beta2: float = 0.99
    """decay of the mean squared gradient in adam and adamw; theirs is 0.999, which is slow for
    trainings of a few thousand steps"""
    weight_decay: float = 0.01
    """of adamw; per unit of learning rate"""
    schedule: str = "cosine"
    """constant; or cosine: down to nothing at the end of the epochs or minutes"""
    warmup: float = 0.05
    """fraction of the training in which the learning rate rises from 0"""
    clip_norm: float = 1.0
    """global norm above which gradients are scaled down to it; 0: never"""
    patience: int | None = None
    """end after so many validations in a row without a lower perplexity; None: never"""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    deterministic: bool = False
    """on CUDA: slower algorithms that give the same numbers each time; a CPU's always do"""
    precision: str = "auto"
    """of the products in training: float32; bfloat16 (weights, optimiser and loss stay in
    float32); auto: bfloat16 on a processor that computes in it, else float32. Scoring and
    sampling are always in float32"""
    prefixes: tuple[str, ...] = ()
    """samples start with these; none given: the corpus's own, else the held-out text's start"""
    sample_every: int | None = None
    """epochs from one set of samples to the next; None: about five sets in all"""
    sample_length: int = 100
    """characters after each prefix"""
    sample_temperature: float = 0.7
    """0: greedy, as the book"""
    save_minutes: float | None = 0.5
    """a checkpoint at least so often; another at each epoch's end, where that takes no more than
    a twentieth of the time, and at the end; None: those alone"""
    save_steps: int | None = None
    """a checkpoint every so many steps too"""

    def __post_init__(self) -> None:
        _check_choice("training.sampling", self.sampling, ("random", "consecutive"))
        _check_choice("training.offset", self.offset, ("random", "none"))
        _check_choice("training.optimiser", self.optimiser, ("sgd", "adam", "adamw"))
        _check_choice("training.precision", self.precision, ("auto", "float32", "bfloat16"))
        _check_choice("training.schedule", self.schedule, ("constant", "cosine"))
        positive = ("seq_len", "batch_size", "epochs", "minutes", "lr", "sample_every")
        for name in (*positive, "patience", "save_minutes", "save_steps"):
            _check_positive(f"training.{name}", getattr(self, name))
        for name in ("weight_decay", "clip_norm", "sample_length", "sample_temperature", "seed"):
            value = getattr(self, name)
            ok = 0 <= value < math.inf
            _check(ok, f"training.{name} is {shown(value)}; it must be 0 or more, and finite")
        counts = ("epochs", "seq_len", "batch_size", "patience", "sample_every", "save_steps")
        for name in (*counts, "sample_length"):
            limit = 10**6 if name == "sample_length" else 10**9
            _check_at_most(f"training.{name}", getattr(self, name), limit)
        length = sum(map(len, self.prefixes))
        ok = length <= 10**5
        _check(ok, f"training.prefixes have {length:,} characters; they must have at most 100,000")
        for name in ("warmup", "beta2"):
            value = getattr(self, name)
            _check(0 <= value < 1, f"training.{name} is {value}; it must be from 0 to below 1")
        _check(self.seed < 2**63, f"training.seed is {shown(self.seed)}; it must be below 2**63")
        _check(
            self.epochs is not None or self.minutes is not None,
            "training ends after epochs or after minutes: give one of them",
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a run is made of."""

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """The sections as plain mappings, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_layers(cls, layers: Iterable[Layer]) -> Config:
        """Merge ``layers`` over the defaults, later ones over earlier ones.

        Raises:
            UsageError: an unknown section or key (the nearest known one is named), a value of
                another type, or one out of its range.
        """
        merged: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for layer in layers:
            for section, values in layer.items():
                _check_known(section, SECTIONS, "section")
                if not isinstance(values, Mapping):
                    raise UsageError(f"{section} is a section; write its keys under [{section}]")
                known = _field_types(SECTIONS[section])
                for key, value in values.items():
                    _check_known(key, known, f"key of [{section}]")
                    merged[section][key] = _convert(f"{section}.{key}", known[key], value)
            # How training ends is one choice: a later layer's takes the place of earlier ones.
            given = layer.get("training", {})
            ends = {key for key in ("epochs", "minutes") if given.get(key) not in (None, "none")}
            if len(ends) == 1:
                merged["training"][({"epochs", "minutes"} - ends).pop()] = None
        return cls(
            corpus=CorpusConfig(**merged["corpus"]),
            model=ModelConfig(**merged["model"]),
            training=TrainingConfig(**merged["training"]),
        )


SECTIONS: dict[str, type] = {
    "corpus": CorpusConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
}


def _check_known(name: str, known: Iterable[str], what: str) -> None:
    names = sorted(known)
    if name not in names:
        # A name of millions of characters, as a damaged file may have one, would take minutes.
        nearest = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(names)}"
        raise UsageError(f"unknown {what}: {shown(name)}", hint)


def _field_types(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _convert(name: str, wanted: Any, value: Any) -> Any:
    """``value``, from TOML, JSON or a ``KEY=VALUE``'s text, as the type that a field has."""
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if type(None) in options and (value is None or value == "none"):
        # The word must stay a value where the field knows it as one.
        return "none" if name == "corpus.cleaning" and value == "none" else None
    kind = next(option for option in options if option is not type(None))
    if typing.get_origin(kind) is Literal:
        kind = str
    try:
        if typing.get_origin(kind) is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            if not isinstance(parts, list | tuple):
                raise TypeError
            item = typing.get_args(kind)[0]
            return tuple(_scalar(item, part) for part in parts)
        return _scalar(kind, value)
    except (TypeError, ValueError, OverflowError):
        noun = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise UsageError(
            f"{name} is {shown(value)}; it must be {noun.get(kind, 'a list')}"
        ) from None


def _scalar(kind: Any, value: Any) -> Any:
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    if kind is int and isinstance(value, float):
        raise TypeError
    return kind(value)


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


def layer_from_assignments(assignments: Iterable[str]) -> Layer:
    """A layer from ``KEY=VALUE`` words; the key with or without its section.

    Raises:
        UsageError: no ``=``, or a key that no section has.
    """
    layer: dict[str, dict[str, Any]] = {}
    homes = {key: section for section, cls in SECTIONS.items() for key in _field_types(cls)}
    for word in assignments:
        key, equals, value = word.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise UsageError(
                f"--set {shown(word)}: it takes KEY=VALUE", "for example --set lr=0.01"
            )
        section, dot, short = key.rpartition(".")
        if not dot:
            _check_known(key, homes, "key")
            section = homes[key]
        layer.setdefault(section, {})[short] = value.strip()
    return layer


def layer_from_toml(path: Path) -> Layer:
    """A layer from a TOML file with the sections ``[corpus]``, ``[model]``, ``[training]``.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            # A pipe may keep the command waiting for ever, and a device never end.
            raise UsageError(f"cannot read the configuration {path}: it is not a regular file")
        return _parse_toml(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the configuration {path}: {reason}") from None


def _parse_toml(text: str, name: str) -> Layer:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not TOML: {error}") from None


def preset_names() -> list[str]:
    """The names that ``--preset`` takes."""
    files = resources.files("charlm").joinpath("presets").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in files if entry.name[-5:] == ".toml")


def preset(name: str) -> dict[str, Any]:
    """A preset as it stands in its file: the configuration's sections, and ``[published]``.

    Raises:
        UsageError: there is no such preset.
    """
    _check_known(name, preset_names(), "preset")
    path = resources.files("charlm").joinpath("presets", f"{name}.toml")
    return dict(_parse_toml(path.read_text(encoding="utf-8"), name))


def layer_from_preset(name: str) -> Layer:
    """A preset's layer: its file without what is said about the source.

    Raises:
        UsageError: there is no such preset.
    """
    return {section: values for section, values in preset(name).items() if section in SECTIONS}
