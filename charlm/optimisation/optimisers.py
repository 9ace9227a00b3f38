"""Optimisers by name. To add an optimiser, add an entry to ``OPTIMISERS``.

The configuration reads the names, so torch is imported only where an optimiser is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Parameters = dict[str, "nn.Parameter"]


def _sgd(parameters: Parameters, *, lr: float, **_: float) -> Optimizer:
    from torch.optim import SGD

    return without_compiler(SGD)(parameters.values(), lr=lr)


def _momentum(parameters: Parameters, *, lr: float, beta1: float, **_: float) -> Optimizer:
    from torch.optim import SGD

    return without_compiler(SGD)(parameters.values(), lr=lr, momentum=beta1)


def _rmsprop(parameters: Parameters, *, lr: float, beta2: float, **_: float) -> Optimizer:
    from torch.optim import RMSprop

    return without_compiler(RMSprop)(
        parameters.values(), lr=lr, alpha=beta2, eps=1e-7
    )  # the epsilon of Keras


def _adam(
    parameters: Parameters, *, lr: float, beta1: float, beta2: float, **_: float
) -> Optimizer:
    from torch.optim import Adam

    return without_compiler(Adam)(
        parameters.values(), lr=lr, betas=(beta1, beta2), fused=_fused(parameters)
    )


def _adamw(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    weight_decay: float,
    tables: Sequence[nn.Parameter] = (),
) -> Optimizer:
    from torch.optim import AdamW

    others: dict[str, Any] = {"params": [], "weight_decay": weight_decay}
    biases: dict[str, Any] = {"params": [], "weight_decay": 0.0}
    for name, each in parameters.items():
        is_bias = name.rpartition(".")[2].startswith("bias")
        (biases if is_bias else others)["params"].append(each)
    options: dict[str, Any] = {"lr": lr, "betas": (beta1, beta2), "fused": _fused(parameters)}
    if not tables:
        return without_compiler(AdamW)([others, biases], **options)
    from charlm.optimisation.tables import AdamWithTables

    return without_compiler(AdamWithTables)([others, biases], [*tables], **options)


def _fused(parameters: Parameters) -> bool:
    """Whether torch has one kernel for the update of all weights."""
    return next(iter(parameters.values())).device.type in ("cpu", "cuda")


@cache
def without_compiler(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """A class of optimisers that does not import torch's compiler.

    The methods of torch's optimisers tell the compiler to leave them alone, and import it for that,
    which takes about 75 MB and a second. Nothing is compiled here, so the methods are taken as they
    are without that.
    """
    import torch

    plain = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
    }
    plain["step"] = torch.no_grad()(plain["step"])
    return type(kind.__name__, (kind,), plain)


@dataclass(frozen=True)
class OptimiserKind:
    """How to build an optimiser.

    ``moments`` are the names of the tensors that it keeps for each weight; "step", a number, counts
    the updates. ``beta1``: whether it uses that setting. ``tables``: whether it can train tables
    with sparse gradients.
    """

    build: Callable[..., Optimizer]
    moments: tuple[str, ...] = ()
    beta1: bool = False
    tables: bool = False


OPTIMISERS = {
    "sgd": OptimiserKind(_sgd),
    "sgd-momentum": OptimiserKind(_momentum, ("momentum_buffer",), beta1=True),
    "rmsprop": OptimiserKind(_rmsprop, ("step", "square_avg")),
    "adam": OptimiserKind(_adam, ("step", "exp_avg", "exp_avg_sq"), beta1=True),
    "adamw": OptimiserKind(_adamw, ("step", "exp_avg", "exp_avg_sq"), beta1=True, tables=True),
}


def build_optimiser(
    name: str, model: nn.Module, *, lr: float, beta1: float, beta2: float, weight_decay: float
) -> Optimizer:
    """An optimiser of the model's trainable weights.

    SGD without and with momentum (Polyak 1964); RMSprop (Tieleman and Hinton 2012); Adam (Kingma
    and Ba 2015); AdamW (Loshchilov and Hutter 2019), whose weight decay applies to all weights but
    the biases. With ``beta1`` 0, Adam divides the gradient itself (Melis et al. 2018).

    Args:
        name: one of `OPTIMISERS`.
        lr: learning rate.
        beta1: decay of the running mean of gradients, for Adam and AdamW; of their running sum,
            for SGD with momentum.
        beta2: decay of the running mean of squared gradients, for RMSprop, Adam and AdamW.
        weight_decay: per unit of learning rate, for AdamW alone.

    Raises:
        ValueError: there is no such optimiser.
    """
    from charlm.optimisation.tables import table_parameters

    if name not in OPTIMISERS:
        raise ValueError(f"unknown optimiser {name!r}; known: {', '.join(OPTIMISERS)}")
    trainable = {key: each for key, each in model.named_parameters() if each.requires_grad}
    tables = [trainable.pop(key) for key in table_parameters(model) if key in trainable]
    options = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
    return OPTIMISERS[name].build(trainable, **options, **({"tables": tables} if tables else {}))
