"""A trainer's state dict as files of a checkpoint, and back.

The weights go into last.safetensors and best.safetensors. The other tensors go into
training.safetensors: the optimiser's moments, the running mean of the weights and the carried
state. The numbers go into training.json. No state of a random generator is kept: the batches of an
epoch follow from the seed and its number, and so do the dropout masks of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from charlm.device import computes_in_bfloat16
from charlm.errors import shown
from charlm.runs import Run
from charlm.runs.fields import check_keys
from charlm.runs.files import damaged
from charlm.training.progress import Progress
from charlm.training.trainer import Trainer

_NUMBERS = ("progress", "parameters", "device", "bfloat16", "torch", "threads", "processes")
_TENSORS = ("average", "optimiser", "carried")


def save_state(run: Run, state: Mapping[str, Any]) -> None:
    """Write a checkpoint with a trainer's state.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    run.metrics, run.samples = state["metrics"], state["samples"]
    run.save(**to_files(state))


def to_files(state: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Run.save` for a trainer's state."""
    return {
        "best": state["best"],
        "last": state["weights"],
        "tensors": {name: tensor.cpu() for name, tensor in _flat(state).items()},
        "training": {
            "progress": dict(vars(state["progress"])),
            "parameters": state["parameters"],
            "device": state["device"],
            "bfloat16": state["bfloat16"],
            "torch": torch.__version__,
            "threads": state["threads"],
            "processes": state["processes"],
        },
    }


def load_state(run: Run, trainer: Trainer) -> tuple[str, ...]:
    """Give a new trainer its run's checkpoint; return what the user should know, one line each.

    Raises:
        RunError: the checkpoint is damaged, or it is of another model.
    """
    assert run.checkpoint is not None
    numbers, path = {"processes": 1, **run.training}, run.checkpoint.folder / "training.json"
    try:
        _check_numbers(trainer, numbers)
        progress = Progress.from_json(numbers["progress"])
    except (TypeError, ValueError) as error:
        raise damaged(path, str(error)) from None
    template = _flat(trainer.empty_state(progress))
    tensors = run.read_tensors("training.safetensors", template)
    try:
        _check_tensors(tensors, progress)
    except ValueError as error:
        raise damaged(path.with_suffix(".safetensors"), str(error)) from None
    same = numbers["device"] == trainer.device.type
    works = not numbers["bfloat16"] or computes_in_bfloat16(trainer.device)
    state = {
        "weights": run.read_weights("last"),
        "best": None if progress.best_valid is None else run.read_weights("best"),
        "progress": progress,
        "bfloat16": numbers["bfloat16"] if same and works else None,
        "metrics": run.metrics,
        "samples": run.samples,
        **{part: _part(tensors, part) for part in _TENSORS},
    }
    try:
        trainer.load_state_dict(state)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    return _notices(trainer, numbers)


def _flat(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of all `_TENSORS`, by names such as ``optimiser.head.weight.exp_avg``."""
    return {f"{part}.{name}": tensor for part in _TENSORS for name, tensor in state[part].items()}


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def _check_numbers(trainer: Trainer, numbers: dict[str, Any]) -> None:
    """Raise a ValueError if training.json does not have the form that `save_state` writes."""
    check_keys(numbers, ("source", "settings", *_NUMBERS), "it")
    device, version, precision = numbers["device"], numbers["torch"], trainer.config.precision
    fit = {
        "device": isinstance(device, str) and device.isalpha() and len(device) < 20,
        "parameters": numbers["parameters"] == trainer.model.num_parameters(),
        "bfloat16": isinstance(numbers["bfloat16"], bool)
        and precision in ("auto", "bfloat16" if numbers["bfloat16"] else "float32"),
        "torch": isinstance(version, str) and version.isprintable() and len(version) < 100,
        **{
            name: type(numbers[name]) is int and numbers[name] > 0
            for name in ("threads", "processes")
        },
    }
    for name, ok in fit.items():
        if not ok:
            raise ValueError(f"its {name} cannot be {shown(numbers[name])}")


def _check_tensors(tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Raise a ValueError if a training cannot reach the numbers in training.safetensors."""
    steps = min(progress.step, 2**24)  # a counter in float32 stands still from here on
    for name, tensor in tensors.items():
        if name.endswith(".step") and float(tensor) != steps:
            raise ValueError(f"{name} is {float(tensor)}, not {steps}")
        if name.endswith(("_sq", ".square_avg")) and (tensor < 0).any():
            raise ValueError(f"{name} has a negative number")


def _notices(trainer: Trainer, numbers: Mapping[str, Any]) -> tuple[str, ...]:
    here = {
        "torch": torch.__version__,
        "device": trainer.device.type,
        "threads": trainer.threads,
        "processes": trainer.world.size,
    }
    differing = [
        f"{name} {numbers[name]}, not {value}"
        for name, value in here.items()
        if numbers[name] != value
    ]
    if not differing:
        return ()
    return (
        f"this run was trained with {'; '.join(differing)}: it resumes, but its weights will not "
        "equal those of an uninterrupted training bit for bit",
    )
