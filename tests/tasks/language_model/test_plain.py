"""Language models without torch give the logits of the model; numpy and onnxruntime run them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charlm.errors import CharlmError, UsageError
from charlm.recurrent import plain_numpy
from charlm.recurrent.build import build_stack
from charlm.recurrent.elman import ElmanCell
from charlm.recurrent.operations import Operations, Value
from charlm.recurrent.stack import Stack
from charlm.recurrent.unroll import Unrolled
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model
from charlm.tasks.language_model.onnx_file import onnx_file, onnx_step
from charlm.tasks.language_model.plain import (
    largest_difference,
    numpy_file,
    plain_model,
    read_numpy_file,
)

STEPS, ROWS = 200, 3
ABOUT = {
    **{"run": "a run", "corpus": "a text", "cleaning": "none", "cell": "lstm", "before": ""},
    "characters": list("abcdefghijklmnopqrst"),
    "start": [1],
}


def differences(model, step, first, rows=ROWS):
    """The largest difference of the logits from the model's, over all steps."""
    ids = torch.randint(0, model.vocabulary_size, (STEPS, rows))
    with torch.no_grad():
        expected, _ = model(ids, model.initial_state(rows))
    states, found = first, []
    for row in ids.numpy():
        logits, states = step(row, states)
        assert logits.dtype == np.float32
        found.append(logits)
    return float(np.abs(np.stack(found) - expected.numpy()).max())


def test_numpy_and_onnxruntime_give_the_logits_of_the_model(exportable):
    plain = plain_model(exportable, ABOUT)
    first = plain_numpy.first_states(plain.about, ROWS)
    assert differences(exportable, read_numpy_file(numpy_file(plain)).step, first) < 1e-5
    assert differences(exportable, onnx_step(onnx_file(plain)), first) < 1e-5
    # The matrices of the model, each once.
    assert sum(each.size for each in plain.arrays.values()) <= exportable.num_parameters() + 20


@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_a_wrong_file_is_found(wrong):
    model = build_language_model(LanguageModelSection(cell="gru", hidden_size=4), 21)
    plain = plain_model(model, ABOUT)
    assert largest_difference(model, plain, plain.step) < 1e-5
    plain.arrays["head.bias"] = plain.arrays["head.bias"] + np.float32(wrong)
    with pytest.raises(CharlmError, match="differ from those of the model"):
        largest_difference(model, plain, plain.step)


class SineCell(ElmanCell):
    """A cell whose step has an operation that is not in the list."""

    def step(self, projected, state):
        output, state = super().step(projected, state)
        return torch.sin(output), state


def test_a_cell_without_an_export_is_refused(one_line):
    stack = Stack([Unrolled(SineCell(2, 3, nonlinearity="tanh"))], dropout=0)
    with pytest.raises(UsageError) as error:
        Operations().stack(stack, Value("x", 2), [Value("h", 3)])
    assert "the cell SineCell cannot be exported: its step computes aten.sin" in one_line(
        error.value
    )


def test_a_layer_of_another_kind_is_refused():
    options = {"input_size": 2, "hidden_size": 3, "num_layers": 1, "bidirectional": True}
    stack = build_stack("gru", "scratch", dropout=0, weight_dropout=0, **options)
    with pytest.raises(UsageError, match="Bidirectional cannot be exported"):
        Operations().stack(stack, Value("x", 2), [Value("h", 3), Value("g", 3)])


def test_what_depends_on_the_weights_alone_is_computed_once():
    def function(weights, x):
        return [x @ (2 * weights["weight"]).T]

    operations = Operations()
    weights = {"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    (value,) = operations.traced(function, weights, [Value("x", 2)])
    (only,) = operations.listed
    assert (only.name, only.output, only.size) == ("linear", value.name, 2)
    np.testing.assert_array_equal(operations.arrays[only.inputs[1]], [[2, 6], [4, 8]])
