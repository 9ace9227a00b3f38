import math

import pytest
import torch
from torch import nn

from charlm.training.optimisation import clip_gradients, snapshot


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


def test_a_snapshot_does_not_move_with_the_weights():
    model = nn.Linear(1, 1)
    taken = snapshot(model)
    model.weight.data.add_(1)
    assert not torch.equal(taken["weight"], model.weight)
