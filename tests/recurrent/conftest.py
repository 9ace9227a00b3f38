"""What the tests of the layers share."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from charlm.recurrent.states import map_state, state_tensors


@pytest.fixture
def results():
    """Gives outputs, final state, and the gradients of the first state, weights and inputs."""

    def results(run, module, xs, first):
        first = map_state(lambda tensor: tensor.clone().requires_grad_(), first)
        leaves = [*state_tensors(first), *module.parameters()]
        if xs.is_floating_point():
            xs = xs.clone().requires_grad_()
            leaves.append(xs)
        outputs, last = run(xs, first)
        torch.manual_seed(1)  # a different weight for every output
        tensors = [outputs, *state_tensors(last)]
        loss = sum((tensor * torch.randn_like(tensor)).sum() for tensor in tensors)
        return outputs, last, torch.autograd.grad(loss, leaves)

    return results


@pytest.fixture
def gradcheck():
    """Checks the gradients of a cell or a layer by finite differences."""

    def check(module, xs, first, *given):
        names = [name for name, _ in module.named_parameters()]

        def run(xs, *tensors):
            left = iter(tensors)
            state = map_state(lambda _: next(left), first)
            weights = dict(zip(names, left, strict=True))
            outputs, last = functional_call(module, weights, (xs, state, *given))
            return outputs, *state_tensors(last)

        tensors = [xs, *state_tensors(first), *(each.detach() for each in module.parameters())]
        return torch.autograd.gradcheck(
            run, [tensor.clone().requires_grad_() for tensor in tensors]
        )

    return check
