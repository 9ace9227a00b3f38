"""A language model as an ONNX file, one step with the state in and out; needs the package onnx.

Symbols in shapes: B rows, V characters.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.models.ngram_embedding import BASE, SPREAD
from charlm.tasks.language_model.plain import PlainModel, Step

OPSET, IR_VERSION = 17, 8  # the oldest that have what is needed, so that many programs read it
_METADATA = ("run", "corpus", "cleaning", "cell", "characters", "before", "start", "states")
_SAME = {
    "gather": "Gather",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
}
_HALF = 2**32


def onnx_file(plain: PlainModel) -> bytes:
    """The bytes of an ONNX file.

    Its inputs are ``ids``, (B,) int64, and the states, (B, ...) float32. Its outputs are
    ``logits``, (B, V), and the next states, whose names end with ``.next``. Its metadata has the
    JSON ``charlm`` with the characters.

    Raises:
        CharlmError: the packages onnx and onnxruntime are missing.
    """
    onnx, _ = _packages()
    helper, about = onnx.helper, plain.about
    graph = _Graph(onnx)
    for name, array in plain.arrays.items():
        graph.constant(array, name)
    for each in about["operations"]:
        graph.add(*each)
    graph.node("Identity", [about["logits"]], "logits")
    for name, value in zip(about["states"], about["next"], strict=True):
        graph.node("Identity", [value], f"{name}.next")

    def tensors(names: dict[str, int], end: str = "") -> list[Any]:
        kind = onnx.TensorProto.FLOAT
        return [
            helper.make_tensor_value_info(name + end, kind, ["batch", size])
            for name, size in names.items()
        ]

    size = len(about["characters"]) + 1
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch"])
    made = helper.make_graph(
        graph.nodes,
        "step",
        [ids, *tensors(about["states"])],
        [*tensors({"logits": size}), *tensors(about["states"], ".next")],
        graph.constants,
    )
    model = helper.make_model(
        made, producer_name="charlm", opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {"charlm": json.dumps({key: about[key] for key in _METADATA})})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def onnx_step(data: bytes) -> Step:
    """The step of the bytes of a file, by onnxruntime; as `PlainModel.step`."""
    _, onnxruntime = _packages()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def step(ids: NDArray[np.int64], states: list[Any]) -> tuple[Any, list[Any]]:
        logits, *after = session.run(None, dict(zip(names, [ids, *states], strict=True)))
        return logits, after

    return step


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise CharlmError(
            "to write an ONNX file, charlm needs onnx and onnxruntime", 'pip install "charlm[onnx]"'
        ) from None
    return onnx, onnxruntime


class _Graph:
    """The nodes and constants of a graph, as it grows."""

    def __init__(self, onnx: Any) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._onnx = onnx

    def constant(self, array: Any, name: str | None = None) -> str:
        """The name of an array."""
        name = name or f"constant {len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str | None = None, **more: Any) -> str:
        """The name of the output of an operation of ONNX."""
        output = output or f"node {len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **more))
        return output

    def add(
        self, name: str, output: str, size: int, inputs: list[str], numbers: list[float]
    ) -> None:
        """An operation of `charlm.recurrent.operations`."""
        if name in _SAME:
            self.node(_SAME[name], inputs, output)
        elif name in ("linear", "linear_t"):
            self.node("Gemm", inputs, output, transB=int(name == "linear_t"))
        elif name == "concat":
            self.node("Concat", inputs, output, axis=1)
        elif name == "slice":
            ends = [self.constant(np.array([each], np.int64)) for each in (*numbers, 1)]
            self.node("Slice", [*inputs, *ends], output)
        elif name == "layer_norm":
            self.node("LayerNormalization", inputs, output, epsilon=numbers[0])
        elif name == "log_sigmoid":
            softplus = self.node("Softplus", [self.node("Neg", inputs)])
            self.node("Neg", [softplus], output)
        elif name == "one_hot":
            values = self.constant(np.array([0, 1], np.float32))
            self.node("OneHot", [*inputs, self._integer(size), values], output)
        elif name == "column":
            column = self.node("Unsqueeze", [*inputs, self.constant(np.array([1], np.int64))])
            self.node("Cast", [column], output, to=self._onnx.TensorProto.FLOAT)
        else:
            assert name == "ngrams"
            self._ngrams(output, inputs, *map(int, numbers))

    def _ngrams(self, output: str, inputs: list[str], lengths: int, rows: int) -> None:
        """Its twin is `charlm.recurrent.plain_numpy.ngrams`. ONNX has no shift of an int64."""
        table, ids, previous = inputs
        before = self.node("Cast", [previous], to=self._onnx.TensorProto.INT64)
        value, vectors = ids, []
        for n in range(lengths):
            last = self.node("Gather", [before, self._integer(lengths - 1 - n)], axis=1)
            value = self.node("Mul", [value, self._integer(BASE)])
            value = self.node("Add", [value, self.node("Add", [last, self._integer(1)])])
            spread = self.node("Mul", [value, self._integer(SPREAD)])
            low = self.node("Mod", [spread, self._integer(_HALF)])  # 0 or more, as in Python
            high = self.node("Div", [self.node("Sub", [spread, low]), self._integer(_HALF)])
            row = self.node("Mod", [high, self._integer(rows)])
            row = self.node("Add", [row, self._integer(n * rows)])
            vectors.append(self.node("Gather", [table, row]))
        self.node("Sum", vectors, output)

    def _integer(self, number: int) -> str:
        return self.constant(np.array(number, np.int64))
