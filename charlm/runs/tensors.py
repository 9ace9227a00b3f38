"""Named tensors in safetensors files, which hold numbers and no code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charlm.errors import RunError, shown
from charlm.runs.files import decode_json

_HEADER = 2**20  # bytes for the names and shapes


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors on the CPU as the bytes of a safetensors file."""
    return bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def max_file_bytes(tensors: Iterable[Tensor]) -> int:
    """The largest possible size of a safetensors file with tensors of these shapes and types."""
    return _HEADER + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def decode_tensors(data: bytes, expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, with exactly the expected names, shapes and types.

    Raises:
        RunError: the bytes are damaged, or they hold other tensors.
    """
    try:
        # safetensors accepts two tensors with one name; decode_json refuses them.
        header = decode_json(data[8 : 8 + int.from_bytes(data[:8], "little")], path)
        tensors: dict[str, Tensor] = load(data)
    except (RunError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError, MemoryError):
        raise RunError(f"{path} is damaged: it is not a complete safetensors file") from None
    if differing := sorted(header.keys() ^ expected.keys()):
        names = ", ".join(map(shown, differing[:3]))
        raise RunError(f"{path} does not belong to this run's model: it differs in {names}")
    for name, tensor in expected.items():
        found = tensors[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise RunError(
                f"{path} does not belong to this run's model: "
                f"{name} is {shown(tuple(found.shape))} {found.dtype}, "
                f"not {tuple(tensor.shape)} {tensor.dtype}"
            )
        if not found.isfinite().all():
            raise RunError(f"{path} is damaged: {name} has a number that is not finite")
    return tensors
