"""The loss in chunks is the loss of all logits at once."""

import pytest
import torch
import torch.nn.functional as F

from charlm.tasks.language_model import model as model_module
from charlm.tasks.language_model import output_loss as output_loss_module
from charlm.tasks.language_model.batches import PADDING
from charlm.tasks.language_model.config import LanguageModelSection
from charlm.tasks.language_model.model import build_language_model, cross_entropy_sum
from charlm.tasks.language_model.output_loss import output_loss

HIDDEN, VOCABULARY, CHUNK = 5, 7, 4


def readable(outputs, weight, bias, targets):
    return cross_entropy_sum(F.linear(outputs, weight, bias).float(), targets)


def some_inputs(rows, dtype=torch.float64):
    shapes = ((rows, HIDDEN), (VOCABULARY, HIDDEN), (VOCABULARY,))
    tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return tensors, torch.randint(VOCABULARY, (rows,))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(output_loss_module, "ROWS", CHUNK)


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("padded", [0, 1])
def test_loss_and_gradients(rows, padded):
    tensors, targets = some_inputs(rows)
    targets[:padded] = PADDING
    logits = F.linear(*tensors)
    expected = F.cross_entropy(logits, targets, reduction="sum")
    found = output_loss(*tensors, targets)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected)
    # The trainer divides by the number of predictions.
    ours, theirs = (torch.autograd.grad(loss / 3, tensors) for loss in (found, expected))
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda *parts: output_loss(*parts, targets), tensors)


@pytest.mark.parametrize("trained", range(3))
def test_frozen_parts_have_no_gradient(trained):
    tensors, targets = some_inputs(6)
    (expected,) = torch.autograd.grad(readable(*tensors, targets), tensors[trained])
    for number, tensor in enumerate(tensors):
        tensor.requires_grad_(number == trained)
    output_loss(*tensors, targets).backward()
    for number, tensor in enumerate(tensors):
        assert (tensor.grad is not None) == (number == trained)
    torch.testing.assert_close(tensors[trained].grad, expected, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        loss = output_loss(*tensors, targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, readable(*tensors, targets).double(), rtol=1e-6, atol=1e-6)


def test_improbable_and_infinite_logits():
    """A probability of 0 in float32 has a finite loss; an infinite logit has none."""
    (outputs, weight, bias), targets = some_inputs(6, torch.float32)
    for factor in (300.0, float("inf")):
        scaled = (outputs * factor, weight, bias, targets)
        found, expected = output_loss(*scaled), readable(*scaled)
        assert bool(found.isfinite()) == bool(expected.isfinite()) == (factor == 300)
    scaled = (outputs * 300, weight, bias, targets)
    torch.testing.assert_close(output_loss(*scaled), readable(*scaled))


def test_bfloat16_products_change_little():
    """The gradients are at least as exact as those of all logits at once."""
    tensors, targets = some_inputs(50, torch.float32)
    exact = torch.autograd.grad(readable(*tensors, targets), tensors)
    errors = []
    for loss in (output_loss, readable):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(*tensors, targets)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, readable(*tensors, targets), rtol=0.01, atol=0)
        gradients = torch.autograd.grad(value, tensors)
        assert [each.dtype for each in gradients] == [torch.float32] * 3
        pairs = zip(gradients, exact, strict=True)
        errors.append([float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs])
    for ours, theirs in zip(*errors, strict=True):
        assert 0 < ours < max(1.2 * theirs, 0.005)


@pytest.mark.parametrize("embedding", ["one-hot", "learned", "tied"])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_models_loss_is_that_of_its_logits(embedding, bfloat16, monkeypatch):
    config = LanguageModelSection(hidden_size=HIDDEN, embedding=embedding, output_dropout=0.5)
    model = build_language_model(config, VOCABULARY)
    ids, targets = (torch.randint(VOCABULARY, (6, 3)).short() for _ in range(2))
    targets[5, 2] = PADDING
    first, results = model.initial_state(3), []
    for least in (0, VOCABULARY + 1):
        monkeypatch.setattr(model_module, "LEAST_VOCABULARY", least)
        torch.manual_seed(1)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, last = model.loss(ids, targets, first)
        loss.backward()
        results.append((loss, last, [each.grad for each in model.parameters()]))
    limit = 0.02 if bfloat16 else 1e-5
    torch.testing.assert_close(*results, rtol=limit, atol=limit)
