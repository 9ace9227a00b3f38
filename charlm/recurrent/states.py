"""The states of recurrent layers: NamedTuples of tensors whose rows are those of the batch.

A new cell may define its own type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

StackState = tuple[NamedTuple, ...]  # one layer's state each, from the bottom up


class HiddenState(NamedTuple):
    """The state of an Elman network and of a GRU."""

    hidden: Tensor  # (B, H)


class LSTMState(NamedTuple):
    """The state of an LSTM."""

    hidden: Tensor  # (B, H)
    cell: Tensor  # (B, H)


class JordanState(NamedTuple):
    """The state of a Jordan network."""

    output: Tensor  # (B, O)


class BidirectionalState(NamedTuple):
    """The states of a bidirectional layer."""

    forward: NamedTuple
    backward: NamedTuple


AnyState = TypeVar("AnyState", bound=tuple[Any, ...])


def map_state(fn: Callable[..., Tensor], state: AnyState, *others: AnyState) -> AnyState:
    """The state of a layer or of a stack with ``fn`` applied to each of its tensors.

    With ``others``, states of the same type, ``fn`` takes the corresponding tensors of all states.

    Raises:
        ValueError: the states have different numbers of parts.
    """
    parts: list[Any] = [
        fn(*part) if isinstance(part[0], Tensor) else map_state(fn, *part)
        for part in zip(state, *others, strict=True)
    ]
    # A NamedTuple takes its fields one by one, a plain tuple takes an iterable.
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def state_tensors(state: tuple[Any, ...]) -> list[Tensor]:
    """All tensors of a layer's or a stack's state, in order."""
    parts = ([part] if isinstance(part, Tensor) else state_tensors(part) for part in state)
    return [tensor for tensors in parts for tensor in tensors]


def named_tensors(state: StackState) -> dict[str, Tensor]:
    """The tensors of a stack's state by names such as ``0.hidden``."""
    return {
        f"{depth}.{name}": tensor
        for depth, layer_state in enumerate(state)
        for name, tensor in layer_state._asdict().items()
    }
