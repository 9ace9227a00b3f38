"""A run folder: everything needed to use, evaluate, repeat and resume a training.

::

    corpus.txt             the text, if it came from standard input
    run.json               task, configuration, corpus (with its hash), versions
    vocabulary.json        the model's vocabulary
    checkpoint-000017/     the last two checkpoints; see `charlm.runs.checkpoint`
    checkpoint-000018/
    summary.json           the summary that the training wrote when it ended

Without a validation split, the best weights are the last weights.
"""

from __future__ import annotations

import html
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from charlm.config import Settings, TaskConfig
from charlm.config.settings import check_known
from charlm.errors import CorpusError, RunError, UsageError, shown
from charlm.runs.checkpoint import FORMAT, RUN_FILES, clean_up, record, write_checkpoint
from charlm.runs.fields import ORIGINS, check_summary
from charlm.runs.files import (
    MAX_VOCABULARY,
    damage_in,
    encode_json,
    encode_lines,
    read_json,
    write_file,
)
from charlm.runs.folders import locked, new_folder, run_folders, run_path
from charlm.runs.reading import RunData, changed_origins, read_run
from charlm.task import Task, TaskCorpus, task_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


class Run(RunData):
    """A run folder of any task; `charlm.open` and `charlm.train` return one.

    docs/architecture.md describes its files.
    """

    def __repr__(self) -> str:
        about = ", ".join(f"{name} {value}" for name, value in self._facts().items())
        folder = str(self.folder)
        folder = folder if len(folder) < 60 else f"...{folder[-60:]}"
        return f"<{type(self).__name__} {shown(folder)}: {about}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, in the colours of the notebook."""
        rows = {"run": str(self.folder), "corpus": str(self.corpus["name"]), **self._facts()}
        cells = (
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for name, value in rows.items()
        )
        return f"<table>{''.join(cells)}</table>"

    def _facts(self) -> dict[str, str]:
        """The cell, and how far and how well the run is trained, in words."""
        facts = {"cell": str(self.config.model.cell)}
        if not self.training:
            return facts | {"epochs": "0"}
        facts["parameters"] = f"{self.training['parameters']:,}"
        facts["epochs"] = f"{self.metrics[-1]['epoch'] if self.metrics else 0:.4g}"
        best = self.training["progress"]["best_valid"]
        metric = self.task.valid_metric
        return facts | ({} if best is None else {metric.title("valid"): metric.text(best)})

    @classmethod
    def create(
        cls,
        run: str | Path | None,
        config: TaskConfig,
        corpus: TaskCorpus,
        origins: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Self:
        """Make the folder and write run.json, with the backend that "auto" stands for here.

        Args:
            run: a name or a new or empty folder, see `run_path`; None:
                ``checkpoints/<time>-<corpus>-<cell>``.
            config: its type decides on the task.
            origins: where the value of each setting came from; None: it is not known.

        Raises:
            UsageError: the folder exists and is not empty.
            RunError: the folder cannot be made or written to, or another process is making it.
            CorpusError: the vocabulary is too large to be read again.
        """
        import torch

        from charlm.models.build import prepare_device

        task = task_of(config)
        if config.model.backend == "auto":
            config, _ = prepare_device(config)
        # torch's own version names its build, such as +cu130; the one of its metadata may not.
        versions = {"charlm": version("charlm"), "torch": torch.__version__}
        versions["numpy"] = version("numpy")
        about: dict[str, Any] = {
            "created": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "config": config.to_dict(),
            "corpus": corpus.describe(),
            "versions": {**versions, "python": platform.python_version()},
            **({} if origins is None else {ORIGINS: origins}),
        }
        # run.json is written last: a folder with a run.json is a complete run.
        files = {
            "vocabulary.json": encode_json(corpus.vocabulary.to_json(), indent=2),
            "run.json": encode_json({"format": FORMAT, "task": task.name, **about}, indent=2),
        }
        if len(files["vocabulary.json"]) > MAX_VOCABULARY:
            raise CorpusError(
                f"the vocabulary of {corpus.source} has {len(files['vocabulary.json']):,} bytes, "
                f"more than {MAX_VOCABULARY:,}",
                "train on less data, or change the settings so that the vocabulary gets smaller",
            )
        if corpus.raw is not None:
            files = {"corpus.txt": corpus.raw, **files}
        wanted = None if run is None else run_path(run)
        with new_folder(wanted, f"{corpus.name}-{config.model.cell}") as folder:
            for name, data in files.items():
                write_file(folder / name, data)
        records = {name: record(files[name]) for name in RUN_FILES}
        about.update(config=config, vocabulary=corpus.vocabulary)
        kind: type[Self] = task.run_type() or cls
        return kind(task=task, folder=folder, records=records, **about)

    @classmethod
    def open(
        cls, run: str | Path, *, task: Task | None = None, weights: bool | Literal["best"] = True
    ) -> Self:
        """A run with its newest checkpoint, or with the previous one if the newest is damaged.

        It is the state of one moment: a training that goes on in the folder does not change it.

        Args:
            run: a name, a run folder or a checkpoint in one, see `run_path`.
            task: the task that the run must belong to; None: any task.
            weights: which tensors to read and check: all of them (True), the "best" weights, or
                none (False).

        Raises:
            UsageError: the name is empty.
            RunError: there is no such run, or it is damaged, or it is a run of another task.
        """
        data = read_run(run_path(run), task, weights=weights)
        kind: type[Self] = data.task.run_type() or cls
        return kind(**vars(data))

    @classmethod
    def open_to_resume(
        cls,
        task: Task,
        run: str | Path | None,
        settings: Iterable[Settings],
        warn: Callable[[str], object],
    ) -> Self:
        """The run to resume, with other settings where they may change.

        Args:
            run: as in `open`; None: the newest run of the task.
            settings: the user's; later ones win.
            warn: called with each notice about the run.

        Raises:
            UsageError: the name is empty, or a setting cannot change.
            RunError: as in `open`, or there is no run.
        """
        folder = next(iter(run_folders(task)), None) if run is None else run
        if folder is None:
            raise RunError("there is no run to resume", f"train one: {task.command} train")
        opened = cls.open(folder, task=task)
        for notice in opened.notices:
            warn(notice)
        opened.change(task.config_type.from_settings([opened.config.to_dict(), *settings]))
        return opened

    def new_model(self) -> Any:
        """A freshly initialised model; torch's global generator decides its weights."""
        return self.task.build_model(self.config, self.vocabulary)

    def first_model(self) -> Any:
        """The model that a new training starts from."""
        return self.task.first_model(self.config, self.vocabulary)

    def load_corpus(self, corpora_dir: str | Path | None = None, *, progress: bool = False) -> Any:
        """The data that the run was trained on, read again and split as it was then.

        Raises:
            CorpusError: the data is missing, or it has changed.

        >>> charlm.open("novel").load_corpus().text("train")[:13]
        'THE TRAVELLER'
        """
        corpus = self.task.load_corpus(
            self.config,
            corpora_dir,
            vocabulary=self.vocabulary,
            kept=self.folder / "corpus.txt",
            progress=progress,
        )
        self.check_corpus(corpus)
        return corpus

    def check_corpus(self, corpus: TaskCorpus) -> None:
        """Check that a corpus is the one that the run was made for.

        Raises:
            CorpusError: the corpus differs; the message lists the differences.
        """
        differing = [
            f"{name} {_words(value)}, not {_words(self.corpus[name])}"
            for name, value in corpus.describe().items()
            if name not in ("name", "source") and value != self.corpus[name]
        ]
        if (vocabulary := corpus.vocabulary) != self.vocabulary:
            sizes = f"{len(vocabulary):,} entries, not the run's {len(self.vocabulary):,}"
            differing.append(f"vocabulary of {sizes}")
        if differing:
            raise CorpusError(
                f"{corpus.source} is not the data that {self.folder} was trained on: "
                + "; ".join(differing),
                f"name the right data with {self.task.source_option}",
            )

    def change(self, config: TaskConfig) -> None:
        """Take another configuration, to resume the training with it.

        Raises:
            UsageError: a setting differs that cannot change; the message lists all of them.
        """
        if config.model.backend == "auto":  # the run has chosen
            config = config.with_backend(self.config.model.backend)
        old, new = self.config.to_dict(), config.to_dict()
        differing = [
            f"{section}.{key} is {old[section][key]} in the run, not {value}"
            for section, values in new.items()
            for key, value in values.items()
            if value != old[section][key] and (section, key) not in config.resumable()
        ]
        if differing:
            raise UsageError(
                f"{self.folder} cannot resume with other settings: {'; '.join(differing)}",
                "leave them out to resume; or train a new run, without --resume",
            )
        self.origins = changed_origins(self.origins, old, new)
        self.config = config

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder's lock inside the block, and delete incomplete checkpoints first.

        Raises:
            RunError: another process is training in this folder.
        """
        with locked(self.folder):
            clean_up(self.folder)
            yield

    def load_model(self, weights: str = "best") -> Any:
        """The trained model on the CPU, in evaluation mode, with its "best" or "last" weights.

        It is a `charlm.LanguageModel`, or the model of another task.

        Raises:
            RunError: the weights are missing or damaged, or they belong to another model.
            UsageError: ``weights`` is another word.

        >>> model = charlm.open("novel").load_model()
        >>> model.stack.output_size
        32
        """
        check_known(weights, ("best", "last"), "weights")
        tensors = self.read_weights(weights)  # first: damaged settings may ask for a huge model
        model = self.new_model()
        # Not strict: a tied weight has two names in the model and one in the file.
        model.load_state_dict(tensors, strict=False)
        return model.eval()

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
            best: the weights with the best validation metric, by name.
            last: the current weights, by name.
            tensors: the other tensors of the training's state.
            training: the numbers of the training's state.

        Raises:
            RunError: the disk is full, or the folder cannot be written to.
        """
        from charlm.runs.tensors import encode_tensors

        settings = self.config.to_dict()["training"]
        self.training = {"source": self.config.corpus.source, "settings": settings, **training}
        weights = encode_tensors(last)
        self.tensors = {}
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
            self.records,
            self.checkpoint.folder if self.checkpoint else None,
        )

    def plot(self) -> Figure:
        """A matplotlib figure of metrics, learning rate and gradients; a notebook shows it.

        >>> run = charlm.open("novel")
        >>> figure = run.plot()
        >>> figure.savefig("curve.png")
        """
        from charlm.report.curves import learning_figure, training_axes, training_series

        series = training_series(self.task, self.metrics, self.config.training.clip_norm)
        return learning_figure(training_axes(self.task, self.metrics), series, self.folder.name)

    def summary(self) -> dict[str, Any] | None:
        """The summary that the training wrote when it ended; None if it has not ended.

        None also if it was resumed later and has not ended again.

        Raises:
            RunError: the file is damaged.

        >>> charlm.open("novel").summary()["epochs"]
        3
        """
        path = self.folder / "summary.json"
        if not path.exists():
            return None
        summary: dict[str, Any] = read_json(path)
        with damage_in(path):
            check_summary(summary, self.task.metric_keys)
        seconds = summary.get("seconds")
        last = self.metrics[-1]["seconds"] if self.metrics else 0.0
        # The summary's own seconds are rounded to two digits.
        resumed = seconds is not None and seconds < round(last, 2)
        return None if resumed else summary


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(f"{size:,}" for size in value)
    if isinstance(value, int):
        return f"{value:,}"
    return value if len(value) <= 12 else f"{value:.12}..."  # a SHA-256
