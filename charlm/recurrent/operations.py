"""A step of a model as a list of plain operations on arrays, for programs without torch.

`charlm.recurrent.plain_numpy` says what each operation is, and computes it. Those of a cell are
found by tracing its ``step``: every cell has them whose step is made of these operations.

Symbols in shapes: B rows, I input, N output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from charlm.errors import UsageError
from charlm.recurrent.stack import Stack
from charlm.recurrent.stepping import cell_and_weights

_aten = torch.ops.aten


@dataclass(frozen=True)
class Value:
    """A (B, size) array, or the (B,) ids, which is known when the operations run."""

    name: str
    size: int


class Operation(NamedTuple):
    """``output = name(*inputs, *numbers)``. The inputs are names of values and of arrays."""

    name: str
    output: str
    size: int  # N of the (B, N) output
    inputs: tuple[str, ...]
    numbers: tuple[float, ...]


class Operations:
    """Operations in the order in which they run, and the constant arrays that they read.

    Attributes:
        listed: the operations.
        arrays: the constants by name, in float32.
    """

    def __init__(self) -> None:
        self.listed: list[Operation] = []
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self._names: dict[tuple[Any, ...], str] = {}  # of tensors, by their numbers in memory
        self._known: set[tuple[Any, ...]] = set()  # those of `arrays`
        self._kept: list[Tensor] = []  # the tensors, so that no other one gets their memory

    def add(
        self, name: str, size: int, inputs: Sequence[Value | str], numbers: Sequence[float] = ()
    ) -> Value:
        """The output of one more operation; an input is a value or the name of an array."""
        value = Value(f"v{len(self.listed)}", size)
        names = tuple(each.name if isinstance(each, Value) else each for each in inputs)
        self.listed.append(Operation(name, value.name, size, names, tuple(numbers)))
        return value

    def name(self, tensors: Mapping[str, Tensor], where: str = "") -> None:
        """Say what constants are called once an operation reads them."""
        for name, tensor in tensors.items():
            self._names.setdefault(_key(tensor), where + name)
            self._kept.append(tensor)

    def name_part(self, part: Tensor, whole: Tensor) -> None:
        """Call a constant after the one that it was made from."""
        number = len(self._kept)
        self.name({f"{self._names.get(_key(whole), '')} {number}".strip(): part})

    def array(self, constant: Tensor | float) -> str:
        """The name of a constant, which is an array from now on."""
        if not isinstance(constant, Tensor):
            constant = torch.tensor(float(constant))
            self._names[_key(constant)] = f"number {constant:g}"
        key = _key(constant)
        name = self._names.setdefault(key, f"array {len(self.arrays)}")
        if key not in self._known:
            self.arrays[name] = constant.detach().float().cpu().contiguous().numpy()
            self._known.add(key)
            self._kept.append(constant)
        return name

    def input(self, given: Value | Tensor | float) -> Value | str:
        """What `add` takes, of a value or a constant."""
        return given if isinstance(given, Value) else self.array(given)

    def linear(self, x: Value, weight: Tensor, bias: Tensor | Value | None = None) -> Value:
        """x W + b for (B, I), (I, N), and (N,) or (B, N). Tied weights are kept once."""
        tied = _key(weight.T) in self._known
        inputs: list[Value | str] = [x, self.array(weight.T if tied else weight)]
        inputs += [] if bias is None else [self.input(bias)]
        return self.add("linear_t" if tied else "linear", weight.shape[1], inputs)

    def slice(self, x: Value, start: int, end: int) -> Value:
        """The columns of x from ``start`` on, before ``end``."""
        size = end - start
        return self.add("slice", size, [x], [start, end]) if size < x.size else x

    def concat(self, values: Sequence[Value]) -> Value:
        """The values side by side."""
        size = sum(each.size for each in values)
        return self.add("concat", size, values) if len(values) > 1 else values[0]

    def stack(self, stack: Stack, x: Value, states: Sequence[Value]) -> tuple[Value, list[Value]]:
        """A step of a stack in evaluation mode: its output, and the next states of all layers.

        Raises:
            UsageError: a cell computes something that is not in the list of operations.
        """
        outputs: list[Value] = []
        after: list[Value] = []
        for number, (layer, first) in enumerate(
            zip(stack.layers, stack.initial_state(1), strict=True)
        ):
            below = outputs[-1] if outputs else None
            given = x if below is None else self.concat([below, x]) if stack.skip else below
            state = states[len(after) : len(after) + len(first)]
            output, *new = self._cell(layer, type(first), [given, *state], f"layers.{number}.")
            if stack.residual and below is not None and below.size == output.size:
                output = self.add("add", output.size, [output, below])
            outputs.append(output)
            after += new
        return self.concat(outputs) if stack.skip else outputs[-1], after

    def _cell(
        self, layer: nn.Module, state_type: Any, values: Sequence[Value], where: str
    ) -> list[Value]:
        """The output and the next state of a layer's cell; the values are input and state."""
        cell, weights = cell_and_weights(layer)
        if cell is None:
            raise UsageError(f"a layer of the type {type(layer).__name__} cannot be exported")
        cell.eval()

        def step(weights: dict[str, Tensor], x: Tensor, *state: Tensor) -> list[Tensor]:
            output, new = functional_call(cell, weights, (x, state_type(*state)))
            return [output, *new]

        self.name(weights, where)
        try:
            return self.traced(step, weights, values)
        except _UnknownError as error:
            raise UsageError(
                f"the cell {type(cell).__name__} cannot be exported: its step computes {error}",
                "docs/export.md lists the operations that a step may have",
            ) from None

    def traced(
        self,
        function: Callable[..., list[Tensor]],
        weights: Mapping[str, Tensor],
        values: Sequence[Value],
    ) -> list[Value]:
        """The values of ``function(weights, *values)``; what depends on weights alone is constant.

        Raises:
            _UnknownError: it computes something that is not in the list of operations.
        """
        examples = [torch.zeros(1, value.size) for value in values]
        tracer = _Tracer(self, zip(examples, values, strict=True))
        with torch.no_grad(), tracer:
            results = function(weights, *examples)
        return [tracer.value(each) for each in results]

    def _layer_norm(
        self, x: Value, shape: list[int], gain: Tensor, bias: Tensor | None, eps: float
    ) -> tuple[Value]:
        if shape != [x.size] or bias is not None:
            raise _UnknownError("a layer normalisation with a bias, or of several dimensions")
        return (self.add("layer_norm", x.size, [x, self.array(gain)], [eps]),)

    def _lerp(self, start: Value, end: Value, weight: Value | Tensor | float) -> Value:
        """start + weight (end - start)."""
        change = _elementwise("mul")(self, weight, _elementwise("sub")(self, end, start))
        return _elementwise("add")(self, start, change)

    def _product(self, x: Any, weight: Any, bias: Tensor | Value | None = None) -> Value:
        if not isinstance(x, Value) or isinstance(weight, Value):
            raise _UnknownError("a product of something else than values and weights")
        return self.linear(x, weight, bias)

    def _split(self, x: Value, sizes: int | list[int], dim: int = 0) -> list[Value]:
        if isinstance(sizes, int):
            sizes = [sizes] * -(-x.size // sizes)
        ends = itertools.accumulate(sizes)
        return [self._slice(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def _slice(
        self,
        x: Value,
        dim: int = 0,
        start: int | None = None,
        end: int | None = None,
        step: int = 1,
    ) -> Value:
        columns = range(x.size)[start:end:step]
        if dim not in (1, -1) or step != 1:
            raise _UnknownError("a part of the rows, or columns with gaps")
        return self.slice(x, columns.start, columns.stop)

    def _cat(self, values: list[Value], dim: int = 0) -> Value:
        if dim not in (1, -1) or not all(isinstance(each, Value) for each in values):
            raise _UnknownError("rows under each other, or a constant beside a value")
        return self.concat(values)


def _elementwise(name: str) -> Callable[..., Value]:
    """An operation on (B, N) values, of which all but one may be (N,) or single constants."""

    def add(self: Operations, *inputs: Value | Tensor | float) -> Value:
        size = max(each.size for each in inputs if isinstance(each, Value))
        return self.add(name, size, [self.input(each) for each in inputs])

    return add


# What torch calls the operations of a step.
_PLAIN: dict[Any, Callable[..., Any]] = {
    _aten.addmm.default: lambda self, bias, x, weight: self._product(x, weight, bias),
    _aten.mm.default: Operations._product,
    _aten.add.Tensor: _elementwise("add"),
    _aten.sub.Tensor: _elementwise("sub"),
    _aten.mul.Tensor: _elementwise("mul"),
    _aten.sigmoid.default: _elementwise("sigmoid"),
    _aten.tanh.default: _elementwise("tanh"),
    _aten.relu.default: _elementwise("relu"),
    _aten.log_sigmoid_forward.default: lambda self, x: (_elementwise("log_sigmoid")(self, x),),
    _aten.neg.default: lambda self, x: _elementwise("mul")(self, x, -1.0),
    _aten.detach.default: lambda self, x: x,
    _aten.lerp.Tensor: Operations._lerp,
    _aten.native_layer_norm.default: Operations._layer_norm,
    _aten.split.Tensor: Operations._split,
    _aten.split_with_sizes.default: Operations._split,
    _aten.slice.Tensor: Operations._slice,
    _aten.cat.default: Operations._cat,
}


class _UnknownError(Exception):
    """An operation of torch that has no plain form."""


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds the operations that torch runs, on examples of the values, to a list.

    Operations on weights alone are run and not added: the result is a constant.
    """

    def __init__(self, operations: Operations, known: Iterable[tuple[Tensor, Value]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = operations
        self._known = {id(tensor): (tensor, value) for tensor, value in known}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes seconds

    def value(self, tensor: Tensor) -> Value:
        """The value that a tensor is an example of."""
        if id(tensor) not in self._known:
            raise _UnknownError("a constant state")
        return self._known[id(tensor)][1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch, and add it if it depends on a value."""
        results = func(*args, **(kwargs or {}))
        inputs = self._values(args)
        if not _has_value(inputs):
            if isinstance(results, Tensor) and args and isinstance(args[0], Tensor):
                self.operations.name_part(results, args[0])
            return results
        if func not in _PLAIN or kwargs:
            raise _UnknownError(func)
        found = _PLAIN[func](self.operations, *inputs)
        pairs = (
            [(results, found)] if isinstance(found, Value) else zip(results, found, strict=False)
        )
        self._known |= {id(tensor): (tensor, value) for tensor, value in pairs}
        return results

    def _values(self, arguments: Any) -> Any:
        """The arguments with values in place of their examples."""
        if isinstance(arguments, list | tuple):
            return [self._values(each) for each in arguments]
        return self._known.get(id(arguments), (None, arguments))[1]


def _has_value(arguments: Any) -> bool:
    if isinstance(arguments, list):
        return any(map(_has_value, arguments))
    return isinstance(arguments, Value)


def _key(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
