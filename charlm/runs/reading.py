"""Read a run folder. Every file is checked before it is used."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charlm.errors import RunError, did_you_mean, shown
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
from charlm.runs.fields import ORIGINS, SAMPLES, check_run, check_settings, metrics_kinds
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

_own_version = cache(lambda: version("charlm"))  # Python parses the metadata each time
_LOOKS = 100  # for the newest checkpoint, while a training deletes one after the other


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
        tensors: the checkpoint's "best" and "last" weights, as far as they were read with it.
        notices: what the user should know, one line each.
        origins: where the value of each setting came from, by section and key, as
            `TaskConfig.origins` says; "resume": it was changed later. Empty for older runs.
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
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False, compare=False)
    notices: tuple[str, ...] = ()
    origins: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)

    @property
    def is_of_this_version(self) -> bool:
        """Whether the run was made by this version of charlm."""
        return self.versions["charlm"] == _own_version()

    def meta_model(self) -> RecurrentModel:
        """The model on torch's meta device: its weights have shapes and types, but no numbers."""
        from charlm.runs.tensors import without_numbers

        # Nothing is allocated: damaged settings may ask for a huge model.
        with without_numbers():
            return self.task.build_model(self.config, self.vocabulary)

    def read_weights(self, weights: str) -> dict[str, Tensor]:
        """The checkpoint's "best" or "last" weights, by name.

        Raises:
            RunError: the weights are missing or damaged, or they belong to another model.
        """
        if weights in self.tensors:
            return self.tensors[weights]
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


def read_run(folder: Path, task: Task | None = None, *, weights: bool | Literal["best"]) -> RunData:
    """The content of a run folder with its newest checkpoint, or the one before a damaged one.

    Another process may be training in the folder and delete a checkpoint while it is read. The
    newest one is then looked for again.

    The arguments and errors are those of `Run.open`; a named checkpoint is the only one tried.
    """
    is_named = is_checkpoint(folder) and not os.path.isfile(folder / "run.json")
    named = folder
    folder = folder.parent if is_named else folder
    if not os.path.isfile(folder / "run.json"):  # Path.is_file raises on a long name
        raise _not_a_run(folder)
    limits = {"run.json": MAX_SETTINGS, "vocabulary.json": MAX_VOCABULARY}
    data = {name: read_file(folder / name, limits[name]) for name in RUN_FILES}
    run = _read_run_files(folder, data, task)
    if is_named:
        return _with_checkpoint(run, named, data, weights=weights)
    checkpoints = complete_checkpoints(folder)
    for _ in range(_LOOKS):
        found, damage = _with_newest(run, checkpoints, data, weights=weights)
        before, checkpoints = checkpoints, complete_checkpoints(folder)
        if not damage or checkpoints == before:
            break
    if found is None:
        raise damage[0]
    name = found.checkpoint.folder.name if found.checkpoint else ""
    found.notices += tuple(f"{error.message}; using {name} instead" for error in damage)
    return found


def _not_a_run(folder: Path) -> RunError:
    known = [path.name for path in run_folders()]
    newest = f"the newest under {CHECKPOINTS}: {', '.join(known[:3])}"
    hint = did_you_mean(folder.name, known, newest) if known else "train one first"
    if folder.parent.absolute() == CHECKPOINTS.absolute():
        return RunError(f"{folder.name} is not a run folder: {folder} has no run.json", hint)
    return RunError(f"{folder} is not a run folder: it has no run.json", hint)


def _with_newest(
    run: RunData,
    checkpoints: Iterable[Path],
    run_files: Mapping[str, bytes],
    *,
    weights: bool | Literal["best"],
) -> tuple[RunData | None, list[RunError]]:
    """The run with its first undamaged checkpoint, and the damage of those before it."""
    damage: list[RunError] = []
    for path in checkpoints:
        try:
            return _with_checkpoint(run, path, run_files, weights=weights), damage
        except RunError as error:
            damage.append(error)
    if damage:
        return None, damage
    begun = [f"{path} is incomplete and is not used" for path in checkpoint_folders(run.folder)]
    return replace(run, notices=tuple(begun[:1])), damage


def _read_run_files(folder: Path, data: Mapping[str, bytes], wanted: Task | None) -> RunData:
    """The content of run.json and vocabulary.json of a run of the wanted task."""
    paths = [folder / name for name in RUN_FILES]
    about, characters = (decode_json(data[path.name], path) for path in paths)
    check_format(about, paths[0])
    with damage_in(paths[0]):
        task = _task_of(about, wanted, folder)
        check_run(about, task.config_type.sections(), task.corpus_facts)
        config = task.config_type.from_settings([task.config_type.unwritten, about["config"]])
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
        origins=about.get(ORIGINS, {}),
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
    run: RunData,
    path: Path,
    run_files: Mapping[str, bytes],
    *,
    weights: bool | Literal["best"],
) -> RunData:
    """The run with the content of a checkpoint; a RunError if it is damaged or of another run."""
    checkpoint = Checkpoint.open(path)
    for name, data in run_files.items():
        checkpoint.check(name, data, run.folder / name)
    run = replace(run, checkpoint=checkpoint)
    if weights:
        names = ("best",) if weights == "best" else ("last", "best")
        run.tensors = {name: run.read_weights(name) for name in names}
    if weights is True:
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
    origins = changed_origins(run.origins, before, config.to_dict())
    return replace(run, training=training, config=config, origins=origins, **lines)


def changed_origins(
    origins: Mapping[str, Mapping[str, str]],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, str]]:
    """The origins of settings, with "resume" for those that differ after a resumption."""
    return {
        section: {
            key: origin if after[section][key] == before[section][key] else "resume"
            for key, origin in texts.items()
        }
        for section, texts in origins.items()
    }


def _max_training_bytes(run: RunData) -> int:
    """The largest possible size of training.safetensors."""
    from charlm.optimisation.optimisers import OPTIMISERS
    from charlm.recurrent.states import state_tensors
    from charlm.runs.tensors import max_file_bytes

    model, training = run.meta_model(), run.config.training
    # Of each weight: the mean, and the optimiser's step and moments. And one state of a batch.
    copies = 1 + len(OPTIMISERS[training.optimiser].moments)
    state = state_tensors(model.initial_state(training.batch_size))
    return copies * max_file_bytes(model.parameters()) + max_file_bytes(state)
