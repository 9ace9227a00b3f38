"""Named tensors as safetensors, which hold numbers and nothing that could run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charlm.errors import RunError, shown
from charlm.runs.files import decode_json

_HEADER = 2**20  # bytes that the names and shapes may take


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Named tensors on the CPU as the bytes of a safetensors file."""
    return bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def most_bytes(expected: Mapping[str, Tensor]) -> int:
    """What a file of tensors like these can take at most."""
    return _HEADER + sum(tensor.numel() * tensor.element_size() for tensor in expected.values())


def decode_tensors(data: bytes, expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, all of them and no other.

    Args:
        expected: what they must be like in name, shape and type; their numbers do not matter.
        path: for the message.

    Raises:
        RunError: the bytes are damaged, or hold other tensors.
    """
    try:
        # Of two tensors with one name, safetensors takes the last; our reader refuses them.
        header = decode_json(data[8 : 8 + int.from_bytes(data[:8], "little")], path)
        tensors: dict[str, Tensor] = load(data)
    except (RunError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError, MemoryError):
        raise RunError(f"{path} is damaged: it is not a whole safetensors file") from None
    if differing := sorted(header.keys() ^ expected.keys()):
        names = ", ".join(map(shown, differing[:3]))
        raise RunError(f"{path} is not of this run's model: it differs in {names}")
    for name, tensor in expected.items():
        found = tensors[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise RunError(
                f"{path} is not of this run's model: {name} is {shown(tuple(found.shape))} "
                f"{found.dtype}, not {tuple(tensor.shape)} {tensor.dtype}"
            )
        if not found.isfinite().all():
            raise RunError(f"{path} is damaged: {name} has a number that is not finite")
    return tensors
