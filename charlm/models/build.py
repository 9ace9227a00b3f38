"""The parts of a model that all tasks build in the same way."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from charlm.config import NetworkSection, TaskConfig
from charlm.device import select_device, select_precision
from charlm.recurrent.build import build_stack
from charlm.recurrent.cells import CELLS
from charlm.recurrent.choice import fastest_backend
from charlm.recurrent.stack import Stack

C = TypeVar("C", bound=TaskConfig)


def prepare_device(config: C) -> tuple[C, torch.device]:
    """The device of a training, and the configuration with the backend that is faster there.

    Raises:
        UsageError: there is no such device, or it cannot compute in the precision.
    """
    device = select_device(config.training.device)
    select_precision(config.training.precision, device)
    if config.model.backend == "auto":
        config = config.with_backend(_backend(config.model, device.type))
    return config, device


def embedding_size(config: NetworkSection) -> int:
    """The size of a learned embedding: the setting, or 64, or a smaller hidden size."""
    return config.embedding_size or min(config.hidden_size, 64)


def build_layers(config: NetworkSection, input_size: int, *, bidirectional: bool) -> Stack:
    """The recurrent layers of a model, with freshly drawn weights.

    The backend "auto" is the faster one on a CPU; a run has chosen before.
    """
    options = CELLS[config.cell].settings.items()
    return build_stack(
        config.cell,
        _backend(config, "cpu") if config.backend == "auto" else config.backend,
        input_size=input_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        bidirectional=bidirectional,
        dropout=config.dropout,
        weight_dropout=config.weight_dropout,
        zoneout_hidden=config.zoneout_hidden,
        zoneout_cell=config.zoneout_cell,
        residual=config.residual,
        skip=config.skip,
        cell_options={argument: getattr(config, key) for argument, key in options},
    )


def _backend(config: NetworkSection, device: str) -> str:
    return "scratch" if config.zoneout else fastest_backend(config.cell, device=device)


def narrow_embedding(embedding: nn.Embedding | None, config: NetworkSection) -> None:
    """With the initialisation "torch", draw an embedding from +-0.1, not with deviation 1."""
    if embedding is not None and config.initialisation == "torch":
        nn.init.uniform_(embedding.weight, -0.1, 0.1)
