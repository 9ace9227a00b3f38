"""The run folder: everything that is needed to use, judge, repeat and go on with a training.

::

    corpus.txt             the text, where it came through standard input
    run.json               task, configuration, corpus (with its hash), versions
    vocabulary.json        what the model knows by id: characters; words, labels, tags
    checkpoint-000017/     the last two; see `charlm.runs.checkpoint`
    checkpoint-000018/
    summary.json           what the training reports at the end

Without a validation split, the best weights are the last ones. What all tasks have in common is
here; a subclass for each says what its runs are made of.
"""

from __future__ import annotations

import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from charlm.config import TaskConfig
from charlm.errors import CorpusError, RunError, UsageError
from charlm.models.recurrent_model import RecurrentModel
from charlm.runs.checkpoint import (
    FORMAT,
    RUN_FILES,
    Checkpoint,
    Record,
    clean_up,
    record,
    write_checkpoint,
)
from charlm.runs.fields import (
    Kinds,
)
from charlm.runs.files import (
    MAX_VOCABULARY,
    encode_json,
    encode_lines,
    write_file,
)
from charlm.runs.folders import locked, new_folder
from charlm.runs.opening import TASKS, read_run, read_summary
from charlm.runs.tensors import decode_tensors, encode_tensors, most_bytes
from charlm.runs.texts import differences


@dataclass(kw_only=True)
class TaskRun(ABC):
    """A run folder; see the module's docstring for its files.

    Attributes:
        task: the name of what is trained.
        figures: what is measured of a training and of the held-out data, in this order.
        unit: what is counted on the way: characters, texts, words.
        command: how a user trains such a run.
        corpus: name, source, sha256 and split sizes of the data, and what else tells it apart.
        created: local time, ISO 8601.
        about: size and SHA-256 of run.json and vocabulary.json.
        checkpoint: what a training goes on from; None before the first.
        training: what the checkpoint's training.json holds.
        notices: what the user should know, one line each.
    """

    task: ClassVar[str] = ""
    config_type: ClassVar[type[TaskConfig]]
    vocabulary_type: ClassVar[Any]
    corpus_kinds: ClassVar[Kinds]
    figures: ClassVar[tuple[str, str]]
    unit: ClassVar[str]
    command: ClassVar[str]
    other_corpus_hint: ClassVar[str | None] = None
    """where the data is not the one that the run was made for"""

    folder: Path
    config: Any
    vocabulary: Any
    corpus: dict[str, Any]
    versions: dict[str, str]
    created: str
    about: dict[str, Record] = field(repr=False)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    training: dict[str, Any] = field(default_factory=dict, repr=False)
    notices: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        if cls.task:
            TASKS[cls.task] = cls

    @staticmethod
    @abstractmethod
    def model_of(config: Any, vocabulary: Any) -> RecurrentModel:
        """A freshly initialised model; torch's global generator decides its weights."""

    def new_model(self) -> Any:
        """A freshly initialised model of the run's."""
        return self.model_of(self.config, self.vocabulary)

    def first_model(self) -> Any:
        """The model that a training begins with."""
        return self.new_model()

    @abstractmethod
    def load_corpus(self, corpora_dir: Path | None = None) -> Any:
        """The data that the run was trained on, read again and split as it was then.

        Raises:
            CorpusError: it is not to be had, or has changed since.
        """

    @classmethod
    def create(
        cls, folder: Path | None, config: Any, corpus: Any, kept: Path | None = None
    ) -> Self:
        """Make the folder and write run.json.

        Args:
            folder: None: ``checkpoints/<time>-<corpus>-<cell>``.
            corpus: what `load_corpus` gives.
            kept: a text to keep a copy of, as it cannot be read again.

        Raises:
            UsageError: the folder holds something already.
            RunError: it cannot be made or written to, or another process makes it.
            CorpusError: the vocabulary is larger than one that is read.
        """
        about = corpus.describe()
        versions = {
            "charlm": version("charlm"),
            "torch": torch.__version__,
            "numpy": version("numpy"),
            "python": platform.python_version(),
        }
        created = time.strftime("%Y-%m-%dT%H:%M:%S")
        content = {
            "format": FORMAT,
            "task": cls.task,
            "created": created,
            "config": config.to_dict(),
            "corpus": about,
            "versions": versions,
        }
        # run.json is written last: a folder that has one is a run.
        files = {
            "vocabulary.json": encode_json(corpus.vocabulary.to_json(), indent=2),
            "run.json": encode_json(content, indent=2),
        }
        if len(files["vocabulary.json"]) > MAX_VOCABULARY:  # it could not be opened again
            raise CorpusError(
                f"the vocabulary of {corpus.source} has {len(files['vocabulary.json']):,} bytes, "
                f"more than {MAX_VOCABULARY:,}",
                "know fewer words: --set min_count=10, or --set vocabulary_size=100000",
            )
        if kept is not None:
            files = {"corpus.txt": kept.read_bytes(), **files}
        with new_folder(folder, f"{corpus.name}-{config.model.cell}") as folder:
            try:
                for name, data in files.items():
                    write_file(folder / name, data)
            except BaseException:
                # Half a run, or one that was not announced, would be in the way of the next.
                for name in reversed(files):
                    with suppress(OSError):
                        (folder / name).unlink(missing_ok=True)
                raise
        return cls(
            folder=folder,
            config=config,
            vocabulary=corpus.vocabulary,
            corpus=about,
            versions=versions,
            created=created,
            about={name: record(files[name]) for name in RUN_FILES},
        )

    @classmethod
    def open(cls, folder: Path, *, weights: bool = True) -> Self:
        """Read a run folder and its newest checkpoint, or the one before where that is damaged.

        Called on a task's own class, it takes runs of that task alone; on `TaskRun`, all.

        Args:
            folder: of a run; or of a checkpoint within one, which then has to be whole.
            weights: whether to make sure that the weights are whole too.

        Raises:
            RunError: there is none, or it is damaged.
        """
        return read_run(cls, folder, weights=weights)

    @property
    def is_of_this_version(self) -> bool:
        """Whether the charlm that made the run is this one."""
        return self.versions["charlm"] == version("charlm")

    def change(self, config: TaskConfig) -> None:
        """Go on with other settings, as far as a training can.

        Raises:
            UsageError: with each setting that cannot change.
        """
        old, new = self.config.to_dict(), config.to_dict()
        differing = [
            f"{section}.{key} is {old[section][key]} in the run, not {value}"
            for section, values in new.items()
            for key, value in values.items()
            if value != old[section][key] and (section, key) not in config.resumable()
        ]
        if differing:
            raise UsageError(
                f"{self.folder} cannot go on with other settings: {'; '.join(differing)}",
                "leave them out to go on; or train a new run, without --resume",
            )
        self.config = config

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process trains here; what a killed one left half-written is gone.

        Raises:
            RunError: another process trains here now.
        """
        with locked(self.folder):
            clean_up(self.folder)
            yield

    def check_corpus(self, corpus: Any) -> None:
        """Make sure that a corpus is the one that the run was made for.

        Raises:
            CorpusError: with each difference.
        """
        if differing := differences(self.corpus, self.vocabulary, corpus):
            raise CorpusError(
                f"{corpus.source} is not the data that {self.folder} was trained on: "
                + "; ".join(differing),
                self.other_corpus_hint,
            )

    def load_model(self, weights: str = "best") -> Any:
        """The trained model on the CPU, in evaluation mode.

        Args:
            weights: "best" or "last".

        Raises:
            RunError: the weights are missing or damaged, or of another model.
        """
        tensors = self.read_weights(weights)
        model = self.new_model()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[name])
        return model.eval()

    def read_weights(self, weights: str) -> dict[str, Tensor]:
        """The checkpoint's "best" or "last" weights, by name.

        Raises:
            RunError: they are missing or damaged, or of another model.
        """
        return self.read_tensors(f"{weights}.safetensors", self.expected_weights())

    def expected_weights(self) -> dict[str, Tensor]:
        """What the weights must be like in name, shape and type; they have no numbers."""
        with torch.device("meta"):  # a model without numbers: what is damaged may ask for a lot
            model = self.new_model()
        return dict(model.named_parameters())

    def most_training_bytes(self, weights: Mapping[str, Tensor]) -> int:
        """What training.safetensors can take: two moments and a mean of each weight, the state."""
        model = self.config.model
        units: int = self.config.training.batch_size * model.num_layers * model.hidden_size
        return 4 * most_bytes(weights) + 8 * units

    def read_tensors(self, name: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a checkpoint's file.

        Args:
            expected: what they must be like in name, shape and type.

        Raises:
            RunError: there is no checkpoint yet, it is damaged, or it is of another model.
        """
        if self.checkpoint is None:
            raise RunError(
                f"{self.folder} has no checkpoint yet",
                f"{self.command} train --resume goes on with it",
            )
        data = self.checkpoint.read(name, most_bytes(expected))
        return decode_tensors(data, expected, self.checkpoint.folder / name)

    def save(
        self,
        *,
        best: Mapping[str, Tensor],
        last: Mapping[str, Tensor],
        tensors: Mapping[str, Tensor],
        training: Mapping[str, Any],
    ) -> None:
        """Write a checkpoint.

        Args:
            best: weights by name; ``last`` likewise.
            tensors: what else of a training's state are tensors.
            training: and what are not.

        Raises:
            RunError: the disk is full, or the folder cannot be written to.
        """
        settings = self.config.to_dict()["training"]
        self.training = {"source": self.config.corpus.source, "settings": settings, **training}
        weights = encode_tensors(last)
        self.checkpoint = write_checkpoint(
            self.folder,
            {
                "last.safetensors": weights,
                "best.safetensors": weights if best is last else encode_tensors(best),
                "training.safetensors": encode_tensors(tensors),
                "training.json": encode_json(self.training, indent=2),
                "metrics.jsonl": encode_lines(self.metrics),
                "samples.jsonl": encode_lines(self.samples),
            },
            self.about,
            self.checkpoint.folder if self.checkpoint else None,
        )

    def summary(self) -> dict[str, Any] | None:
        """What training reported at its end; None where it did not get there.

        Raises:
            RunError: the file is damaged.
        """
        path = self.folder / "summary.json"
        return read_summary(path, self.figures) if path.exists() else None
