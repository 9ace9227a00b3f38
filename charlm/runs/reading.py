"""Read a run folder. Every file is checked before it is used."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.errors import RunError, shown
from charlm.runs.checkpoint import (
    RUN_FILES,
    Checkpoint,
    Record,
    check_format,
    checkpoint_folders,
    complete_checkpoints,
    is_checkpoint,
    record,
)
from charlm.runs.fields import SAMPLES, check_run, check_settings, metrics_kinds
from charlm.runs.files import (
    MAX_LINES,
    MAX_SETTINGS,
    MAX_VOCABULARY,
    damage_in,
    decode_json,
    decode_lines,
    read_file,
)
from charlm.runs.folders import CHECKPOINTS, run_folders
from charlm.task import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

    from charlm.models.recurrent_model import RecurrentModel


@dataclass(kw_only=True)
class RunData:
    """The content of a run folder.

    Attributes:
        corpus: name, source, sha256 and split sizes of the data, and the task's own facts.
        versions: of charlm, torch, numpy and Python, when the run was made.
        created: local time, ISO 8601.
        records: size and SHA-256 of run.json and vocabulary.json.
        metrics: one row for each time that the validation split was scored.
        checkpoint: the checkpoint that training resumes from; None before the first.
        training: the content of the checkpoint's training.json.
        notices: what the user should know, one line each.
    """

    task: Task
    folder: Path
    config: Any
    vocabulary: Any
    corpus: dict[str, Any]
    versions: dict[str, str]
    created: str
    records: dict[str, Record] = field(repr=False)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    training: dict[str, Any] = field(default_factory=dict, repr=False)
    notices: tuple[str, ...] = ()

    @property
    def is_of_this_version(self) -> bool:
        """Whether the run was made by this version of charlm."""
        return self.versions["charlm"] == version("charlm")

    def meta_model(self) -> RecurrentModel:
        """The model on torch's meta device: its weights have shapes and types, but no numbers."""
        import torch

        # The meta device allocates nothing: damaged settings may ask for a huge model.
        with torch.device("meta"):
            return self.task.build_model(self.config, self.vocabulary)

    def read_weights(self, weights: str) -> dict[str, Tensor]:
        """The checkpoint's "best" or "last" weights, by name.

        Raises:
            RunError: the weights are missing or damaged, or they belong to another model.
        """
        expected = dict(self.meta_model().named_parameters())
        return self.read_tensors(f"{weights}.safetensors", expected)

    def read_tensors(self, name: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors in a file of the checkpoint, with the expected names, shapes and types.

        Raises:
            RunError: there is no checkpoint yet, it is damaged, or it belongs to another model.
        """
        from charlm.runs.tensors import decode_tensors, max_file_bytes

        if self.checkpoint is None:
            raise RunError(
                f"{self.folder} has no checkpoint yet",
                f"{self.task.command} train --resume starts its training",
            )
        data = self.checkpoint.read(name, max_file_bytes(expected.values()))
        return decode_tensors(data, expected, self.checkpoint.folder / name)


def read_run(folder: Path, task: Task | None = None, *, weights: bool) -> RunData:
    """The content of a run folder with its newest checkpoint, or the one before a damaged one.

    Args:
        folder: a run folder; or a checkpoint in one, which is then the only one that is tried.
        task: the task that the run must belong to; None: any task.
        weights: whether to check the tensors, too.

    Raises:
        RunError: the folder is not a run, or it is damaged, or it is a run of another task.
    """
    named = is_checkpoint(folder) and not os.path.isfile(folder / "run.json")
    checkpoints = [folder] if named else []
    folder = folder.parent if named else folder
    if not os.path.isfile(folder / "run.json"):  # Path.is_file raises on a long name
        known = ", ".join(path.name for path in run_folders()[:3])
        hint = f"the newest under {CHECKPOINTS}: {known}" if known else "train one first"
        raise RunError(f"{folder} is not a run folder: it has no run.json", hint)
    limits = {"run.json": MAX_SETTINGS, "vocabulary.json": MAX_VOCABULARY}
    data = {name: read_file(folder / name, limits[name]) for name in RUN_FILES}
    run = _read_run_files(folder, data, task)
    checkpoints = checkpoints or complete_checkpoints(folder)
    if not checkpoints and (begun := checkpoint_folders(folder)):
        run.notices += (f"{begun[0]} is incomplete and is not used",)
    damage: list[RunError] = []
    for path in checkpoints:
        try:
            run = _with_checkpoint(run, path, data, weights=weights)
            break
        except RunError as error:
            damage.append(error)
    else:
        if damage:
            raise damage[0]
    run.notices += tuple(f"{error.message}; using {path.name} instead" for error in damage)
    return run


def _read_run_files(folder: Path, data: Mapping[str, bytes], wanted: Task | None) -> RunData:
    """The content of run.json and vocabulary.json of a run of the wanted task."""
    paths = [folder / name for name in RUN_FILES]
    about, characters = (decode_json(data[path.name], path) for path in paths)
    check_format(about, paths[0])
    with damage_in(paths[0]):
        task = _task_of(about, wanted, folder)
        check_run(about, task.config_type.sections(), task.corpus_facts)
        config = task.config_type.from_settings([about["config"]])
    with damage_in(paths[1]):
        vocabulary = task.read_vocabulary(characters)
    run = RunData(
        task=task,
        folder=folder,
        config=config,
        vocabulary=vocabulary,
        corpus=about["corpus"],
        versions=about["versions"],
        created=about["created"],
        records={name: record(data[name]) for name in RUN_FILES},
    )
    with damage_in(paths[0]):
        complete = run.is_of_this_version
        check_settings(about["config"], config.to_dict(), "config", complete=complete)
    return run


def _task_of(about: Any, wanted: Task | None, folder: Path) -> Task:
    """The task that run.json names; a RunError if it is not the wanted one."""
    name = about.get("task") if isinstance(about, dict) else None
    task = TASKS.get(name) if isinstance(name, str) else None
    if task is None:
        raise ValueError(f"its task cannot be {shown(name)}")
    if wanted is not None and task.name != wanted.name:
        raise RunError(
            f"{folder} is a run of {task.command} train, not of {wanted.command} train",
            f"see {task.command} --help",
        )
    return task


def _with_checkpoint(
    run: RunData, path: Path, run_files: Mapping[str, bytes], *, weights: bool
) -> RunData:
    """The run with the content of a checkpoint; a RunError if it is damaged or of another run."""
    checkpoint = Checkpoint.open(path)
    for name, data in run_files.items():
        checkpoint.check(name, data, run.folder / name)
    run = replace(run, checkpoint=checkpoint)
    if weights:
        run.read_weights("last")
        run.read_weights("best")
        checkpoint.read("training.safetensors", _max_training_bytes(run))
    data = checkpoint.read("training.json", MAX_SETTINGS)
    training, before = decode_json(data, path / "training.json"), run.config.to_dict()
    with damage_in(path / "training.json"):
        changed: Any = training if isinstance(training, dict) else {}
        settings, corpus = changed.get("settings"), {"source": changed.get("source")}
        sources = [before, {"corpus": corpus, "training": settings}]
        config = run.task.config_type.from_settings(sources)
        known = config.to_dict()["training"]
        check_settings(settings, known, "settings", complete=run.is_of_this_version)
        for name in settings.keys() - type(config.training).resumable():
            if settings[name] != before["training"][name]:
                raise ValueError(f"its {name} is not the one in run.json")
    kinds = {"metrics": metrics_kinds(run.task.metric_keys, run.task.unit), "samples": SAMPLES}
    lines: dict[str, Any] = {}
    for name in kinds:
        data = checkpoint.read(f"{name}.jsonl", MAX_LINES)
        lines[name] = decode_lines(data, path / f"{name}.jsonl", kinds[name])
    return replace(run, training=training, config=config, **lines)


def _max_training_bytes(run: RunData) -> int:
    """The largest possible size of training.safetensors."""
    from charlm.optimisation.optimisers import OPTIMISERS
    from charlm.recurrent.states import state_tensors
    from charlm.runs.tensors import max_file_bytes

    model, training = run.meta_model(), run.config.training
    # Of each weight: the mean, the optimiser's step and its moments. And one state of a batch.
    copies = 2 + len(OPTIMISERS[training.optimiser].moments)
    state = state_tensors(model.initial_state(training.batch_size))
    return copies * max_file_bytes(model.parameters()) + max_file_bytes(state)
