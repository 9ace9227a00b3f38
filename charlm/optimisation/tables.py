"""Adam for a model with large tables, of which a step uses few rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

RATE = 5.0  # times the learning rate, for the tables


def table_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a model's tables, by name: of modules whose attribute ``sparse`` is true."""
    tables = [name for name, each in model.named_modules() if getattr(each, "sparse", False)]
    named = model.named_parameters()
    return {name: each for name, each in named if name.rpartition(".")[0] in tables}


class AdamWithTables(AdamW):
    """AdamW; and for some tables, Adam on those rows alone that have a gradient.

    The moments of the other rows stay as they are ("lazy" Adam, as in `torch.optim.SparseAdam`). So
    a row has no updates after the step that uses it. In Adam it has, as long as its mean gradient
    lasts; the tables have 5 times the learning rate instead. They have no weight decay.

    Args:
        groups: the other weights, as for AdamW.
        tables: their gradients are sparse in the first dimension.
    """

    def __init__(
        self, groups: list[dict[str, Any]], tables: list[nn.Parameter], **options: Any
    ) -> None:
        super().__init__([*groups, {"params": tables, "weight_decay": 0.0}], **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; ``closure`` must be None."""
        tables = self.param_groups[-1]
        gradients = [table.grad for table in tables["params"]]
        for table in tables["params"]:
            table.grad = None  # AdamW leaves weights without a gradient alone
        inspect.unwrap(AdamW.step)(self)  # without torch's compiler, see `without_compiler`
        for table, gradient in zip(tables["params"], gradients, strict=True):
            table.grad = gradient
            if gradient is not None:
                self._update_rows(table, gradient.coalesce(), tables)

    def _update_rows(
        self, table: nn.Parameter, gradient: torch.Tensor, group: dict[str, Any]
    ) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(table)
            state["exp_avg_sq"] = torch.zeros_like(table)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        steps = float(state["step"])
        rows, values = gradient.indices()[0], gradient.values()
        mean = state["exp_avg"][rows].lerp_(values, 1 - beta1)
        square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        scale = square.div_(1 - beta2**steps).sqrt_().add_(group["eps"])
        rate = RATE * group["lr"] / (1 - beta1**steps)
        table.index_add_(0, rows, mean.div_(scale), alpha=-rate)
