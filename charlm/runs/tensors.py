"""Named tensors in safetensors files, which hold numbers and no code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from charlm.errors import RunError, shown
from charlm.runs.files import damaged, decode_json

_HEADER = 2**20  # bytes for the names and shapes
_DRAWS = frozenset(("uniform_", "normal_", "bernoulli_", "exponential_", "random_"))


@contextmanager
def without_numbers() -> Iterator[None]:
    """Modules that are made in the block have weights with shapes and types, but no numbers.

    They are on torch's meta device, and nothing is drawn for them: to draw there, torch would
    import its compiler, which takes as long as importing torch.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Functions that fill a tensor with random numbers leave it as it is."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _DRAWS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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
        raise damaged(path, "it is not a complete safetensors file") from None
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
            raise damaged(path, f"{name} has a number that is not finite")
    return tensors
