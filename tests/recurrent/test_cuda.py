"""The layers on a CUDA device: the same results as on the CPU, and a training that works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from charlm.recurrent.build import build_stack
from charlm.recurrent.cell import recurrent_weights
from charlm.recurrent.cells import CELLS
from charlm.recurrent.stack import Stack
from charlm.recurrent.states import StackState, map_state, state_tensors
from charlm.runs import Run
from charlm.task import settings_from_preset
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.training import Measured, Started, train

pytestmark = pytest.mark.cuda

CUDA = torch.device("cuda")
STEPS, BATCH, INPUTS, HIDDEN = 35, 32, 28, 64
LAYERS = [
    (cell, backend)
    for cell, kind in CELLS.items()
    for backend in (("scratch", "torch") if kind.torch else ("scratch",))
]

every_layer = pytest.mark.parametrize(("cell", "backend"), LAYERS)


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """Products in float32, where cuDNN would take TF32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def stack_of(cell: str, backend: str, **options: float) -> Stack:
    plain = {"bidirectional": False, "dropout": 0.0, "weight_dropout": 0.0}
    sizes = {"input_size": INPUTS, "hidden_size": HIDDEN, "num_layers": 2}
    return build_stack(cell, backend, **{**sizes, **plain, **options})


def results(stack: Stack, xs: Tensor, first: StackState) -> list[Tensor]:
    """Outputs, final states and all weights' gradients."""
    stack.zero_grad()
    outputs, last = stack(xs, first)
    states = state_tensors(last)
    (outputs.square().mean() + sum(state.mean() for state in states)).backward()
    return [outputs, *states, *(parameter.grad for parameter in stack.parameters())]


@every_layer
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)], ids=str
)
@pytest.mark.parametrize("kind", ["features", "ids"])
def test_cuda_agrees_with_the_cpu(cell, backend, dtype, tolerance, kind):
    stack = stack_of(cell, backend).to(dtype)
    xs = torch.randn(STEPS, BATCH, INPUTS, dtype=dtype)
    if kind == "ids":
        xs = torch.randint(INPUTS, (STEPS, BATCH))
    first = map_state(torch.randn_like, stack.initial_state(BATCH))
    on_cpu = [tensor.detach().clone() for tensor in results(stack, xs, first)]
    stack = stack.to(CUDA)
    assert all(tensor.is_cuda for tensor in state_tensors(stack.initial_state(BATCH)))
    on_cuda = results(stack, xs.to(CUDA), map_state(lambda tensor: tensor.to(CUDA), first))
    assert all(tensor.is_cuda for tensor in on_cuda)
    torch.testing.assert_close(
        [tensor.detach().cpu() for tensor in on_cuda], on_cpu, rtol=tolerance, atol=tolerance
    )


@every_layer
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_both_ways_with_lengths_on_either_device(cell, backend, where):
    stack = stack_of(cell, backend, hidden_size=8, bidirectional=True).double()
    xs, lengths = torch.randn(STEPS, BATCH, INPUTS).double(), torch.randint(1, STEPS, (BATCH,))
    on_cpu = stack(xs, stack.initial_state(BATCH), lengths)
    stack = stack.to(CUDA)
    outputs, last = stack(xs.to(CUDA), stack.initial_state(BATCH), lengths.to(where))
    outputs.sum().backward()
    found = outputs.cpu(), map_state(lambda tensor: tensor.cpu(), last)
    torch.testing.assert_close(found, on_cpu, rtol=1e-10, atol=1e-10)
    assert all(parameter.grad.isfinite().all() for parameter in stack.parameters())


@every_layer
def test_a_few_steps_of_training(cell, backend, tmp_path: Path):
    corpus = load_corpus("traveller", max_chars=5000)
    model = {"cell": cell, "backend": backend, "hidden_size": HIDDEN}
    preset = settings_from_preset("language-model", "timemachine-rnn")
    config = LanguageModelConfig.from_settings(
        [preset, {"model": model, "training": {"epochs": 4}}]
    )
    run = Run.create(tmp_path / "run", config, corpus)
    events = list(train(run, corpus, device=CUDA))
    assert isinstance(events[0], Started)
    assert events[0].device == "cuda"
    measured = [event for event in events if isinstance(event, Measured)]
    assert measured[-1].train < measured[0].train
    assert measured[-1].valid < len(corpus.vocabulary)
    # A model trained on CUDA is loaded on the CPU.
    assert all(parameter.device.type == "cpu" for parameter in run.load_model().parameters())


@pytest.mark.parametrize("backend", ["scratch", "torch"])
def test_dropout_of_all_kinds_works(backend):
    stack = stack_of("lstm", backend, dropout=0.5, weight_dropout=0.5).to(CUDA)
    xs, first = torch.randn(STEPS, BATCH, INPUTS, device=CUDA), stack.initial_state(BATCH)
    found = results(stack, xs, first)
    assert all(tensor.isfinite().all() for tensor in found)
    weight = stack.get_parameter(recurrent_weights(stack)[1])
    assert float((weight.grad == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_a_training_with_weight_dropout_and_dynamic_evaluation_warn_of_nothing(tmp_path):
    options = "--corpus traveller --epochs 1 --hidden-size 64 --set weight_dropout=0.2 --run ./run"
    for command in (f"train {options}", "eval --run ./run --split valid --dynamic"):
        words = [sys.executable, "-m", "charlm", *command.split(), "--device", "cuda", "--quiet"]
        done = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert "RNN module weights" not in done.stderr
