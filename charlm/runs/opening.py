"""Reading a run folder, of whatever task: nothing in it is believed before it is checked."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from charlm.errors import CorpusError, RunError, UsageError, shown
from charlm.runs.checkpoint import (
    FORMAT,
    RUN_FILES,
    Checkpoint,
    checkpoint_folders,
    complete_checkpoints,
    is_checkpoint,
    record,
)
from charlm.runs.fields import (
    SAMPLES,
    check_fields,
    check_run,
    check_settings,
    metrics_kinds,
    summary_kinds,
)
from charlm.runs.files import (
    MAX_LINES,
    MAX_SETTINGS,
    MAX_VOCABULARY,
    decode_json,
    decode_lines,
    read_file,
    read_json,
)
from charlm.runs.folders import CHECKPOINTS, run_folders
from charlm.runs.tensors import decode_tensors, most_bytes

if TYPE_CHECKING:
    from charlm.runs.run import TaskRun

AnyRun = TypeVar("AnyRun", bound="TaskRun")

TASKS: dict[str, type[TaskRun]] = {}
"""The kinds of runs by the names of their tasks."""


def read_run(kind: type[AnyRun], folder: Path, *, weights: bool) -> AnyRun:
    """As `TaskRun.open`, of which ``kind`` is the class that it is called on."""
    named = is_checkpoint(folder) and not os.path.isfile(folder / "run.json")
    checkpoints = [folder] if named else []
    folder = folder.parent if named else folder
    if not os.path.isfile(folder / "run.json"):  # Path.is_file raises on a long name
        known = ", ".join(path.name for path in run_folders()[:3])
        hint = f"the newest under {CHECKPOINTS}: {known}" if known else "train one first"
        raise RunError(f"{folder} is not a run folder: it has no run.json", hint)
    most = {"run.json": MAX_SETTINGS, "vocabulary.json": MAX_VOCABULARY}
    data = {name: read_file(folder / name, most[name]) for name in RUN_FILES}
    content = {name: decode_json(data[name], folder / name) for name in RUN_FILES}
    about = content["run.json"]
    try:
        found = about.get("format") if isinstance(about, dict) else None
        if found != FORMAT and isinstance(found, int):
            raise RunError(
                f"{folder / 'run.json'} has the format {found}; this version reads {FORMAT}"
            )
        of_task = _kind_of(about, kind, folder)
        check_run(about, of_task.config_type.sections(), of_task.corpus_kinds)
        run = of_task(
            folder=folder,
            config=of_task.config_type.from_settings([about["config"]]),
            vocabulary=of_task.vocabulary_type.from_json(content["vocabulary.json"]),
            corpus=about["corpus"],
            versions=about["versions"],
            created=about["created"],
            about={name: record(data[name]) for name in RUN_FILES},
        )
        complete = run.is_of_this_version
        check_settings(about["config"], run.config.to_dict(), "config", complete=complete)
    except CorpusError as error:
        raise RunError(f"{folder / 'vocabulary.json'} is damaged: {error}") from None
    except (ValueError, UsageError) as error:
        raise RunError(f"{folder / 'run.json'} is damaged: {error}") from None
    checkpoints = checkpoints or complete_checkpoints(folder)
    if not checkpoints and (begun := checkpoint_folders(folder)):
        run.notices += (f"{begun[0]} was not written to its end, and is left out",)
    damage: list[RunError] = []
    for path in checkpoints:
        try:
            _read_checkpoint(run, path, data, weights=weights)
            break
        except RunError as error:
            damage.append(error)
    else:
        if damage:
            raise damage[0]
    run.notices += tuple(f"{error.message}; going back to {path.name}" for error in damage)
    return run


def _kind_of(about: Any, wanted: type[AnyRun], folder: Path) -> type[AnyRun]:
    """The class of a run's task.

    Raises:
        ValueError: there is no such task.
        RunError: it is another one than was asked for.
    """
    if not isinstance(about, dict):
        raise ValueError("it is not an object")
    if "task" not in about:
        raise ValueError("it has no 'task'")
    task = about["task"]
    kind = TASKS.get(task) if isinstance(task, str) else None
    if kind is None:
        raise ValueError(f"its task cannot be {shown(task)}")
    if not issubclass(kind, wanted):
        raise RunError(
            f"{folder} is a run of {kind.command} train, not of {wanted.command} train",
            f"see {kind.command} --help" if kind.task != "language-model" else None,
        )
    return kind


def _read_checkpoint(
    run: TaskRun, path: Path, about: Mapping[str, bytes], *, weights: bool
) -> None:
    """Take over where a checkpoint stands.

    Raises:
        RunError: it is damaged, or of another run; nothing is taken over.
    """
    checkpoint = Checkpoint.open(path)
    for name, data in about.items():
        checkpoint.check(name, data, run.folder / name)
    if weights:
        expected = run.expected_weights()
        for name in ("last.safetensors", "best.safetensors"):
            decode_tensors(checkpoint.read(name, most_bytes(expected)), expected, path / name)
        checkpoint.read("training.safetensors", run.most_training_bytes(expected))
    data = checkpoint.read("training.json", MAX_SETTINGS)
    training, before = decode_json(data, path / "training.json"), run.config.to_dict()
    try:
        changed: Any = training if isinstance(training, dict) else {}
        settings, corpus = changed.get("settings"), {"source": changed.get("source")}
        layers = [before, {"corpus": corpus, "training": settings}]
        config = run.config_type.from_settings(layers)
        known = config.to_dict()["training"]
        check_settings(settings, known, "settings", complete=run.is_of_this_version)
        for name in settings.keys() - run.config_type.sections()["training"].resumable():
            if settings[name] != before["training"][name]:
                raise ValueError(f"its {name} is not the one in run.json")
    except (ValueError, UsageError) as error:
        raise RunError(f"{path / 'training.json'} is damaged: {error}") from None
    metrics, samples = (
        decode_lines(checkpoint.read(name, MAX_LINES), path / name, kinds)
        for name, kinds in (
            ("metrics.jsonl", metrics_kinds(run.figures, run.unit)),
            ("samples.jsonl", SAMPLES),
        )
    )
    run.checkpoint, run.training, run.config = checkpoint, training, config
    run.metrics, run.samples = metrics, samples


def read_summary(path: Path, figures: Iterable[str]) -> dict[str, Any]:
    """What a training reported at its end.

    Args:
        figures: the names of what was measured.

    Raises:
        RunError: the file is damaged.
    """
    summary: Any = read_json(path)
    kinds, known = summary_kinds(figures), summary
    if isinstance(summary, dict):
        known = {name: summary.get(name) for name in kinds}
    try:
        check_fields(known, kinds, "the summary")
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    return dict(summary)
