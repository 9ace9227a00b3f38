"""The interface of a task: everything in which language models, classifiers and taggers differ.

Runs, training and the commands look a task up in `TASKS`, which the package `charlm.tasks` fills,
and use this interface alone. Importing this module, or a task, needs no torch.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from charlm.config import Section, Settings, TaskConfig
from charlm.config.merging import parse_toml
from charlm.config.settings import check_known
from charlm.corpus import catalogue
from charlm.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import torch

    from charlm.models.recurrent_model import RecurrentModel


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how good a model is."""

    name: str  # in keys: the validation metric "accuracy" is ``valid_accuracy`` in JSON
    label: str = ""  # the name in sentences and pictures; empty: ``name``
    percent: bool = False  # whether the values are percentages, 0 to 100
    bits: str = ""  # the name of the logarithm to base 2, where people use that too
    higher_is_better: bool = False
    meaning: str = ""  # what it is, in a sentence for people who see it for the first time

    def key(self, split: str) -> str:
        """The key in JSON, such as ``valid_accuracy``."""
        return f"{split}_{self.name}"

    def title(self, split: str) -> str:
        """The name in sentences, such as "valid accuracy"."""
        return f"{split} {self.label or self.name}"

    def text(self, value: float | None) -> str:
        """A value for people: ``88.12%``, ``1.234``, ``12,345``, or a dash for None."""
        if value is None:
            return "-"
        return f"{value:.2f}%" if self.percent else f"{value:,.{3 if value < 100 else 0}f}"

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return value > than if self.higher_is_better else value < than


class TaskCorpus(Protocol):
    """The data of a run: examples or a text, in three splits, and a vocabulary."""

    @property
    def name(self) -> str:
        """A short name, for run folders."""

    @property
    def source(self) -> str:
        """The path that the data was read from."""

    @property
    def vocabulary(self) -> Any:
        """The model's vocabulary; it has a length and ``to_json``."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how the data was read, one line each."""

    @property
    def split_sizes(self) -> tuple[int, ...]:
        """The sizes of train, valid and test."""

    @property
    def raw(self) -> bytes | None:
        """The bytes of standard input, which cannot be read again; None for other sources."""

    def describe(self) -> dict[str, Any]:
        """The facts that tell this data from other data, for run.json."""


@dataclass(frozen=True)
class Table:
    """A table of a report: a header and rows of cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1  # the number of columns that are aligned to the left


@dataclass(frozen=True, kw_only=True)
class Report:
    """A result: ``content`` for programs, ``blocks`` of text and tables for people.

    ``picture`` makes a file of a kind in `charlm.report.drawing.KINDS`; None: there is no picture.
    """

    content: dict[str, Any]
    blocks: Sequence[str | Table]
    warnings: Sequence[str] = ()
    picture: Callable[[str], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What a task says in a report about the data of a run.

    Attributes:
        facts: a few words each, by name.
        baselines: the validation metric of simpler predictors, by name.
        blocks: texts and tables.
    """

    facts: Mapping[str, str]
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    blocks: Sequence[str | Table] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that is about to start: the complete configuration and the data."""

    config: Any
    corpus: Any
    notices: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class EvalOptions(Section, section="eval"):
    """The base of a task's additional options of ``eval``."""

    def check_split(self, split: str | None) -> None:
        """Raise a UsageError if the options contradict the given --split, or None."""

    def with_runs(self, runs: Sequence[str]) -> EvalOptions:
        """The options with further runs, where --run is given several times.

        Raises:
            UsageError: the task scores a single run.
        """
        raise UsageError("--run is given twice", "give it once")

    def picture_file(self) -> Path | None:
        """The file for the report's picture; None: no picture is wanted."""
        return None

    def without_data(self) -> str | None:
        """What is left out if the run's data cannot be read, in words; None: it is needed."""
        return None


class Task(ABC):
    """One task. The rest of the program knows only the attributes and methods below."""

    command: ClassVar[str]  # its group of commands: ``charlm`` or ``charlm classify``
    help: ClassVar[str]  # one line about the group of commands
    train_help: ClassVar[str]
    eval_help: ClassVar[str]
    predict_help: ClassVar[str] = ""
    config_type: ClassVar[type[TaskConfig]]
    eval_options: ClassVar[type[EvalOptions]] = EvalOptions
    source_option: ClassVar[str] = "--data"  # the option that names the data
    unit: ClassVar[str]  # what training counts: characters, texts, words
    short_unit: ClassVar[str] = ""  # the same for the progress bar; empty: ``unit``
    train_metric: ClassVar[Metric]  # of the batches of an epoch
    valid_metric: ClassVar[Metric]  # of the validation split; the best weights are kept
    has_samples: ClassVar[bool] = False  # whether the model writes samples while it trains
    tests_at_end: ClassVar[bool] = True  # whether training ends with a score of the test split
    # the facts of `TaskCorpus.describe` beyond name, source, sha256 and split, and their types
    corpus_facts: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    min_split: ClassVar[int] = 1  # the smallest split that can be scored
    preset_package: ClassVar[str | None] = None  # has the folder ``presets`` of TOML files
    # metavar and help of the argument of ``predict``; None: there is no such command
    predict_argument: ClassVar[tuple[str, str] | None] = None

    @property
    def name(self) -> str:
        """The name in run.json and the catalogue, and of the task's group of commands."""
        return self.config_type.task

    @property
    def metric_keys(self) -> tuple[str, str]:
        """The keys of the training and the validation metric in metrics and summaries."""
        return self.train_metric.key("train"), self.valid_metric.key("valid")

    def metric_titles(self) -> tuple[str, str]:
        """The names of the two metrics in sentences and tables."""
        return self.train_metric.title("train"), self.valid_metric.title("valid")

    def run_type(self) -> Any:
        """The subclass of `charlm.runs.Run` for the task's runs; None: there is none."""
        return None

    @abstractmethod
    def load_corpus(
        self,
        config: Any,
        corpora_dir: str | Path | None,
        *,
        vocabulary: Any = None,
        kept: Path | None = None,
        progress: bool = False,
    ) -> TaskCorpus:
        """Find and read the data that a configuration names; look in ``corpora_dir`` first.

        Args:
            vocabulary: the one of a trained model; None: make one from the data.
            kept: a copy of standard input in a run folder, to read in place of the source.
            progress: show the progress of a download on a terminal.

        Raises:
            CorpusError: the data is missing or unusable.
        """

    @abstractmethod
    def read_vocabulary(self, content: Any) -> Any:
        """The vocabulary from the JSON of its ``to_json``; a CorpusError if it is not one."""

    def plan(
        self, settings: Sequence[Settings], corpora_dir: str | Path | None, *, progress: bool
    ) -> Plan:
        """The configuration and the data of a new training; later ``settings`` win.

        Raises:
            UsageError: a setting is unknown or out of its range.
            CorpusError: the data is missing, unusable or too small.
        """
        config = self.config_type.from_settings(settings)
        return self.complete(config, self.load_corpus(config, corpora_dir, progress=progress))

    def complete(self, config: Any, corpus: Any) -> Plan:
        """The configuration with everything filled in that depends on the data."""
        return Plan(config=with_absolute_source(config, corpus), corpus=corpus)

    @abstractmethod
    def facts(self, corpus: Any) -> tuple[str, dict[str, Any]]:
        """The data in a few words ("texts with 2 labels"), and facts about it for ``--json``."""

    @abstractmethod
    def build_model(self, config: Any, vocabulary: Any) -> RecurrentModel:
        """A freshly initialised model; torch's global generator decides its weights."""

    def first_model(self, config: Any, vocabulary: Any) -> RecurrentModel:
        """The model that a new training starts from."""
        return self.build_model(config, vocabulary)

    @abstractmethod
    def objective(self, run: Any, corpus: Any, device: torch.device) -> Any:
        """The `charlm.training.objective.Objective` of a run.

        Raises:
            CorpusError: the train split is too small.
        """

    @abstractmethod
    def evaluate(
        self,
        run: Any,
        corpus: Any,
        split: str,
        device: torch.device,
        should_stop: Callable[[], bool],
        options: EvalOptions | None = None,
    ) -> Report:
        """Score the best weights on a split; ``options`` are ``eval_options``; None: the defaults.

        ``corpus`` is None only if it could not be read and ``options.without_data()`` allows it.

        The content of the report has ``valid_metric.key(split)`` where ``tests_at_end`` is true.

        Raises:
            Stopped: ``should_stop`` returned True.
        """

    def prepare_conclusion(self, run: Any, corpus: Any) -> Any:
        """The part of `conclude` that needs no trained model.

        A training with a budget of minutes makes it early, so that its time is known.
        """
        return None

    def conclude(self, run: Any, corpus: Any, valid: float | None, prepared: Any = None) -> Report:
        """What the end of a training says beyond the metrics; it must take little time.

        ``valid`` is the best validation metric; None: there is none, or the training was stopped.
        ``prepared`` is the result of `prepare_conclusion`; None: it was not called.
        """
        return Report(content={}, blocks=())

    def data_facts(self, run: Any, corpus: Any, prepared: Any = None) -> DataFacts:
        """What a report says about the data; it must take little time.

        ``prepared`` is as in `conclude`.
        """
        return DataFacts(facts={"data": self.facts(corpus)[0]})

    def sample_facts(self, run: Any, corpus: Any, budget: float) -> Sequence[str | Table]:
        """What a report says about the last samples, for tasks whose models write.

        It takes about ``budget`` seconds at most.
        """
        return ()

    def predict(self, run: Any, texts: Sequence[str], device: torch.device) -> Report:
        """The model's answers for some texts, for tasks with a ``predict`` command."""
        raise NotImplementedError

    def next_command(self, run: Any) -> str:
        """A command to try after training, without ``charlm``'s common options."""
        return f"{self.command} eval"


TASKS: dict[str, Task] = {}  # by name


def register(*tasks: Task) -> None:
    """Add tasks to the registry."""
    TASKS.update({task.name: task for task in tasks})


def task_of(config: TaskConfig) -> Task:
    """The task that a configuration belongs to."""
    return TASKS[config.task]


def _preset_files(task: str) -> dict[str, Traversable]:
    """The files of a task's presets by the name of the preset, sorted."""
    package = TASKS[task].preset_package
    files = resources.files(package).joinpath("presets").iterdir() if package else ()
    names = {file.name.removesuffix(".toml"): file for file in files if file.name.endswith(".toml")}
    return dict(sorted(names.items()))


def preset_names(task: str) -> list[str]:
    """The names of a task's presets, sorted."""
    return [*_preset_files(task)]


def preset(task: str, name: str) -> dict[str, Any]:
    """The sections of a preset's file, also ``[published]``; a UsageError if there is no preset."""
    for other in TASKS.values():
        if other.name != task and name in preset_names(other.name):
            raise UsageError(
                f"the preset {name} is for another task", f"{other.command} train --preset {name}"
            )
    files = _preset_files(task)
    check_known(name, files, "preset")
    return dict(parse_toml(files[name].read_text(encoding="utf-8"), name))


def settings_from_preset(task: str, name: str) -> Settings:
    """The settings of a preset: its file without ``[published]``."""
    return {section: v for section, v in preset(task, name).items() if section != "published"}


def with_absolute_source(config: Any, corpus: TaskCorpus) -> Any:
    """The configuration with the absolute path of a source that is not in the catalogue."""
    if config.corpus.source in catalogue() or config.corpus.source == "-":
        return config
    section = dataclasses.replace(config.corpus, source=str(Path(corpus.source).resolve()))
    return dataclasses.replace(config, corpus=section)


def samples_by_prefix(samples: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The last sample of each prefix."""
    last = {sample["prefix"]: sample["text"] for sample in samples}
    return [{"prefix": prefix, "text": text} for prefix, text in last.items()]
