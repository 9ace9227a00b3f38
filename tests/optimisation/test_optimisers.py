import pytest
import torch
from torch import nn

from charlm.optimisation.optimisers import OPTIMISERS, OptimiserKind, build_optimiser
from charlm.recurrent.lstm import LSTMCell
from charlm.recurrent.unroll import Unrolled

KINDS = {
    "sgd": torch.optim.SGD,
    "sgd-momentum": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build(name, model, lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.5):
    settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
    return build_optimiser(name, model, **settings)


def weights(model):
    return {name: each.detach().clone() for name, each in model.named_parameters()}


def test_every_optimiser_is_tried():
    assert KINDS.keys() == OPTIMISERS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_optimiser_by_name_updates_what_is_trainable(name):
    model = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1))
    before = weights(model)
    optimiser = build(name, model)
    assert isinstance(optimiser, KINDS[name])
    assert {group["lr"] for group in optimiser.param_groups} == {0.1}
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    for key, value in weights(model).items():
        assert torch.equal(before[key], value) == key.startswith("0."), key
    moments = OPTIMISERS[name].moments
    for state in optimiser.state.values():
        assert {*moments} == {key for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "beta1", "changes"),
    [
        ("sgd-momentum", 0.5, (3.0, 0.5)),  # 3, then 0.5 * 3 - 1
        ("sgd-momentum", 0.0, (3.0, -1.0)),
        ("adam", 0.0, (1.0, -1 / (0.25 * 9 + 0.75) ** 0.5)),  # 3 / 3, then the mean of 9 and 1
        ("adam", 0.5, (1.0, (0.25 * 3 - 0.5) / 0.75 / (0.25 * 9 + 0.75) ** 0.5)),
    ],
)
def test_two_steps_of_a_mean_of_gradients_by_hand(name, beta1, changes):
    """The gradients 3 and -1, with Adam's corrections for a mean that starts at 0."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimiser = build(name, nn.ParameterList([weight]), lr=1.0, beta1=beta1, beta2=1 / 3)
    for gradient, change in zip((3.0, -1.0), changes, strict=True):
        before = weight.item()
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimiser.step()
        assert before - weight.item() == pytest.approx(change, rel=1e-6)


def test_rmsprop_by_hand():
    """As in Keras: epsilon outside the root, no momentum, a mean that starts at 0."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimiser = build("rmsprop", nn.ParameterList([weight]))
    square = torch.zeros(2)
    expected = weight.detach().clone()
    for gradient in (torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 0.5])):
        weight.grad = gradient
        optimiser.step()
        square = 0.9 * square + 0.1 * gradient**2
        expected = expected - 0.1 * gradient / (square.sqrt() + 1e-7)
        torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize(
    "model",
    [nn.Linear(2, 3), nn.LSTM(2, 3), Unrolled(LSTMCell(2, 3, peepholes=True, nonlinearity="tanh"))],
)
def test_weight_decay_applies_to_all_but_the_biases(model):
    """A peephole weight is a vector like a bias, but it is a weight."""
    before = weights(model)
    optimiser = build("adamw", model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in weights(model).items():
        factor = 1.0 if "bias" in name else 1 - 0.1 * 0.5
        torch.testing.assert_close(value, before[name] * factor)


def test_new_optimiser_is_one_entry_and_an_unknown_one_is_refused(monkeypatch):
    def nesterov(parameters, *, lr, **_):
        return torch.optim.SGD(parameters.values(), lr=lr, momentum=0.9, nesterov=True)

    monkeypatch.setitem(OPTIMISERS, "nesterov", OptimiserKind(nesterov, ("momentum_buffer",)))
    assert build("nesterov", nn.Linear(1, 1)).param_groups[0]["nesterov"]
    with pytest.raises(ValueError, match="unknown optimiser 'lion'; known: sgd, sgd-momentum, rm"):
        build("lion", nn.Linear(1, 1))
