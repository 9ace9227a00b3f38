"""A language model without torch: arrays, and a step as operations on them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.models.recurrent_model import evaluating
from charlm.recurrent import plain_numpy
from charlm.recurrent.operations import Operations, Value
from charlm.recurrent.states import named_tensors
from charlm.tasks.language_model.decoding import SAMPLING, generate
from charlm.tasks.language_model.lines import BOUNDARY
from charlm.tasks.language_model.prefix import text_start

if TYPE_CHECKING:
    from charlm.tasks.language_model.model import LanguageModel
    from charlm.tasks.language_model.run import LanguageModelRun

CHECKED = 200  # steps that a file is compared with the model on
MOST = 0.1  # of a difference between logits; more is not rounding
FORMAT = "charlm 1"  # of the JSON
NUMPY_JSON = "model.json"  # the name of the JSON among the arrays

Step = Callable[[NDArray[np.int64], list[Any]], tuple[Any, list[Any]]]


class PlainModel(NamedTuple):
    """A language model as plain data.

    Attributes:
        about: of it, as JSON: docs/export.md describes the keys.
        arrays: the weights by name, in float32.
    """

    about: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]

    def step(self, ids: NDArray[np.int64], states: list[Any]) -> tuple[Any, list[Any]]:
        """(B,) ids and the states to (B, V) logits and the next states, by numpy."""
        logits, states = plain_numpy.step(self.about, self.arrays, ids, states)
        return logits, states


def plain_run(run: LanguageModelRun, model: LanguageModel) -> PlainModel:
    """The plain data of a run's model, and what is needed to read and write text with it.

    Raises:
        UsageError: its cell computes something that is not in the list of operations.
    """
    corpus = run.corpus
    return plain_model(
        model,
        {
            "run": run.folder.name,
            "corpus": corpus["name"],
            "cleaning": corpus["cleaning"],
            "cell": run.config.model.cell,
            "parameters": model.num_parameters(),
            "characters": run.vocabulary.to_json(),
            "spelling_nats": run.vocabulary.spelling_nats,
            "prefix": next(iter(run.config.training.prefixes), ""),
            "before": BOUNDARY if run.config.corpus.lines else "",
            "start": [*text_start(run, model, "").ids],
        },
    )


def plain_model(model: LanguageModel, about: Mapping[str, Any]) -> PlainModel:
    """The plain data of a model, with more that is said about it; errors as in `plain_run`."""
    operations = Operations()
    operations.name({**dict(model.named_parameters()), "head.weight": model.head.weight.T})
    first = named_tensors(model.initial_state(1))
    states = {name: tensor.shape[1] for name, tensor in first.items()}
    with evaluating(model):
        logits, after = _step(model, operations, [Value(*each) for each in states.items()])
    step = {
        "states": states,
        "operations": [list(each) for each in operations.listed],
        "logits": logits.name,
        "next": [value.name for value in after],
    }
    return PlainModel({"format": FORMAT, **about, **step}, operations.arrays)


def _step(
    model: LanguageModel, operations: Operations, states: list[Value]
) -> tuple[Value, list[Value]]:
    """The logits and the next states of `LanguageModel.forward` for a single step."""
    ids, ngrams = Value("ids", 1), model.ngrams
    if model.embedding is None:
        size = model.vocabulary_size
        x = operations.add("one_hot", size, [ids], [size])
    else:
        table = model.embedding.weight
        x = operations.add("gather", table.shape[1], [operations.array(table), ids])
    context: list[Value] = []
    if ngrams is not None:
        *states, previous = states
        inputs: list[Value | str] = [operations.array(ngrams.table), ids, previous]
        sums = operations.add("ngrams", x.size, inputs, [previous.size, ngrams.rows])
        x = operations.add("add", x.size, [x, sums])
        both = operations.concat([previous, operations.add("column", 1, [ids])])
        context = [operations.slice(both, 1, both.size)]
    outputs, after = operations.stack(model.stack, x, states)
    seen = outputs if ngrams is None else operations.concat([outputs, x])
    return operations.linear(seen, model.head.weight.T, model.head.bias), after + context


@torch.no_grad()
def largest_difference(model: LanguageModel, plain: PlainModel, step: Step) -> float:
    """The largest difference between the logits of a model and of its file, over a text.

    The model writes the text itself.

    Args:
        step: of what was read back from the file.

    Raises:
        CharlmError: the difference is too large for rounding.
    """
    start = plain.about["start"]
    decoding, length = SAMPLING, CHECKED - len(start)
    written = generate(model, start, length=length, decoding=decoding)
    ids = torch.tensor([*start, *(int(each) for each in written)])
    with evaluating(model):
        expected, _ = model(ids.unsqueeze(1), model.initial_state(1))
    states = plain_numpy.first_states(plain.about, 1)
    found = []
    for id in ids.numpy():
        logits, states = step(np.array([id]), states)
        found.append(logits)
    largest = float(np.abs(np.stack(found) - expected.numpy()).max())
    if not largest <= MOST:
        raise CharlmError(
            f"the logits of the file differ from those of the model by {largest:.1g}",
            "the file was not written; please report this",
        )
    return largest


def numpy_file(plain: PlainModel) -> bytes:
    """The bytes of a .npz file; it is read without pickle."""
    file = io.BytesIO()
    about = np.frombuffer(json.dumps(plain.about).encode(), np.uint8)
    arrays: dict[str, Any] = {NUMPY_JSON: about, **plain.arrays}
    np.savez(file, **arrays)
    return file.getvalue()


def read_numpy_file(data: bytes) -> PlainModel:
    """The inverse of `numpy_file`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return PlainModel(json.loads(arrays.pop(NUMPY_JSON).tobytes()), arrays)
