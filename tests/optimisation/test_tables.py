"""Lazy Adam for tables against torch's optimisers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from charlm.optimisation.optimisers import build_optimiser
from charlm.optimisation.tables import RATE, AdamWithTables
from charlm.training.optimisation import dense_gradients, gradient_norm, scale_gradients

ROWS = 6


class Tabled(nn.Module):
    """Other weights, and a table of which each step uses few rows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.table = nn.Embedding(ROWS, 3, sparse=True)

    def loss(self, rows: list[int]) -> torch.Tensor:
        return (self.head(self.table(torch.tensor(rows))) - 1).square().sum()


STEPS = ([0, 2], [2, 2, 3], [5], [0, 0, 2], [3])  # of the rows that are used; never 1 and 4


def build(model: nn.Module, beta1: float = 0.9) -> AdamWithTables:
    optimiser = build_optimiser("adamw", model, lr=0.02, beta1=beta1, beta2=0.95, weight_decay=0.1)
    assert isinstance(optimiser, AdamWithTables)
    return optimiser


def step(model: Tabled, rows: list[int], *optimisers: torch.optim.Optimizer) -> None:
    model.zero_grad()
    model.loss(rows).backward()
    for optimiser in optimisers:
        optimiser.step()


@pytest.mark.parametrize("beta1", [0.9, 0.0])
def test_tables_have_sparse_adam_with_five_times_the_rate_and_the_rest_adamw(beta1):
    ours, theirs = Tabled().double(), Tabled().double()
    theirs.load_state_dict(ours.state_dict())
    before = ours.table.weight.detach().clone()
    optimiser = build(ours, beta1)
    sparse = torch.optim.SparseAdam([theirs.table.weight], lr=5 * 0.02, betas=(beta1, 0.95))
    groups = [
        {"params": [theirs.head.weight], "weight_decay": 0.1},
        {"params": [theirs.head.bias], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02, betas=(beta1, 0.95))
    for number, rows in enumerate(STEPS):
        # The schedule changes the rate from step to step.
        rate = 0.02 / (number + 1)
        for each in (optimiser, sparse, adamw):
            for group in each.param_groups:
                group["lr"] = rate * (RATE if each is sparse else 1)
                group["eps"] = 1e-30  # SparseAdam adds it at another place
        step(ours, rows, optimiser)
        step(theirs, rows, sparse, adamw)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    moved = (ours.table.weight != before).any(dim=1).tolist()
    assert moved == [True, False, True, True, False, True]


def test_state_is_saved_and_loaded():
    ours = Tabled()
    optimiser = build(ours)
    for rows in STEPS[:3]:
        step(ours, rows, optimiser)
    model, state = copy.deepcopy(ours), copy.deepcopy(optimiser.state_dict())
    table = state["state"][2]
    assert {name: tensor.shape for name, tensor in table.items()} == {
        **{"step": (), "exp_avg": (ROWS, 3), "exp_avg_sq": (ROWS, 3)}
    }
    again = build(model)
    again.load_state_dict(state)
    for rows in STEPS[3:]:
        step(ours, rows, optimiser)
        step(model, rows, again)
    assert all(map(torch.equal, ours.parameters(), model.parameters()))


def test_a_step_without_the_table_leaves_it_alone():
    model = Tabled()
    optimiser, before = build(model), model.table.weight.detach().clone()
    model.head(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    assert torch.equal(model.table.weight, before)
    assert model.table.weight not in optimiser.state


def test_a_frozen_table_has_no_optimiser():
    model = Tabled()
    model.table.requires_grad_(False)
    optimiser = build_optimiser("adamw", model, lr=0.1, beta1=0.9, beta2=0.9, weight_decay=0.0)
    assert not isinstance(optimiser, AdamWithTables)


def test_clipping_counts_and_scales_the_rows_of_a_table():
    """The gradient of a row that is used twice is a sum, and the others are zero."""
    sparse, dense = Tabled(), Tabled()
    dense.load_state_dict(sparse.state_dict())
    dense.table.sparse = False
    norms = []
    for model in (sparse, dense):
        model.loss([2, 2, 5]).backward()
        gradients = dense_gradients(model.parameters())
        norms.append(float(gradient_norm(gradients)))
        scale_gradients(gradients, 0.5)
    assert norms[0] == pytest.approx(norms[1])
    for one, other in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other.grad)
