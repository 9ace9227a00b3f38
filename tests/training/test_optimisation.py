import math

import pytest
import torch
from torch import nn

from charlm.config import TrainingConfig
from charlm.training.keeping import MOMENTS
from charlm.training.optimisation import build_optimiser, clip_gradients, snapshot


def with_gradients(*values):
    parameters = [nn.Parameter(torch.zeros(len(value))) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value)
    return parameters


def test_gradients_above_the_norm_are_scaled_down_together():
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters, 1.0) == pytest.approx(5.0)
    assert torch.allclose(parameters[0].grad, torch.tensor([0.6, 0.0]))
    assert torch.allclose(parameters[1].grad, torch.tensor([0.0, 0.8]))


@pytest.mark.parametrize("max_norm", [5.0, 6.0, 0.0])
def test_gradients_within_the_norm_or_without_one_are_left_alone(max_norm):
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters, max_norm) == pytest.approx(5.0)
    assert torch.equal(parameters[1].grad, torch.tensor([0.0, 4.0]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_scales_nothing(bad):
    parameters = with_gradients([bad, 1.0], [2.0])
    assert not math.isfinite(clip_gradients(parameters, 1.0))
    assert torch.equal(parameters[1].grad, torch.tensor([2.0]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_optimisers_by_name(name, kind):
    model = nn.Linear(2, 3)
    optimiser = build_optimiser(TrainingConfig(optimiser=name, lr=0.5), model)
    assert type(optimiser) is kind
    assert {group["lr"] for group in optimiser.param_groups} == {0.5}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 2


def test_rmsprop_by_hand():
    """Keras's: the epsilon is outside the root, there is no momentum, and the mean begins at 0."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    model = nn.ParameterList([weight])
    optimiser = build_optimiser(TrainingConfig(optimiser="rmsprop", lr=0.1, beta2=0.9), model)
    square = torch.zeros(2)
    expected = weight.detach().clone()
    for gradient in (torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.5])):
        weight.grad = gradient
        optimiser.step()
        square = 0.9 * square + 0.1 * gradient**2
        expected = expected - 0.1 * gradient / (square.sqrt() + 1e-7)
        torch.testing.assert_close(weight.detach(), expected)
    assert optimiser.state[weight].keys() == {"step", *MOMENTS["rmsprop"]}


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_what_does_not_learn_is_left_alone(name):
    model = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1))
    before = snapshot(model)
    optimiser = build_optimiser(TrainingConfig(optimiser=name, lr=0.5, weight_decay=0.5), model)
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    after = snapshot(model)
    for key in before:
        assert torch.equal(before[key], after[key]) == key.startswith("0."), key


def test_weight_decay_leaves_biases_alone():
    model = nn.Linear(2, 3)
    before = model.bias.detach().clone()
    weight = model.weight.detach().clone()
    optimiser = build_optimiser(TrainingConfig(optimiser="adamw", weight_decay=0.5, lr=0.1), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert torch.equal(model.bias, before)
    assert torch.allclose(model.weight, weight * (1 - 0.1 * 0.5))


def test_a_snapshot_does_not_move_with_the_weights():
    model = nn.Linear(1, 1)
    taken = snapshot(model)
    model.weight.data.add_(1)
    assert not torch.equal(taken["weight"], model.weight)
