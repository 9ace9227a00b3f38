"""Files that are whole or not there, and weights as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from charlm.atomic_files import write_atomic
from charlm.errors import RunError
from charlm.strict_json import dumps


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a run, whole or not at all.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}",
            "what was saved before is untouched; make room, or choose another folder with --run",
        ) from None


def write_json(path: Path, content: Any) -> None:
    """JSON that a person can read, whole or not at all.

    Raises:
        RunError: as `write_file`.
    """
    write_file(path, encode_json(content, indent=2))


def encode_json(content: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8 and a line end; what a file name or word may have beyond UTF-8, as escapes."""
    text = dumps(content, indent=indent) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_json(path: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        RunError: it is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged: it is not JSON") from None


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, with their SHA-256 in the file's metadata.

    Raises:
        RunError: as `write_file`.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    write_file(path, save(tensors, metadata={"sha256": _sha256(tensors)}))


def _sha256(weights: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(save(dict(weights))).hexdigest()


def load_weights(path: Path, model: nn.Module) -> None:
    """Read ``path`` into ``model``, whose parameters it must match in name, shape and type.

    Raises:
        RunError: the file is missing or damaged, or belongs to another model.
    """
    try:
        data = path.read_bytes()
        weights = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        written = header.get("__metadata__", {}).get("sha256")  # none from other programs
        if written not in (None, _sha256(weights)):
            raise ValueError
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError, MemoryError):
        raise RunError(f"{path} is damaged: it is not a whole safetensors file") from None
    parameters = dict(model.named_parameters())
    if weights.keys() != parameters.keys():
        names = ", ".join(sorted(weights.keys() ^ parameters.keys())[:3])
        raise RunError(f"{path} is not of this run's model: it differs in {names}")
    for name, parameter in parameters.items():
        if weights[name].shape != parameter.shape or weights[name].dtype != parameter.dtype:
            raise RunError(
                f"{path} is not of this run's model: {name} is {tuple(weights[name].shape)} "
                f"{weights[name].dtype}, not {tuple(parameter.shape)} {parameter.dtype}"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
