"""The parts of a model that all tasks build in the same way."""

from __future__ import annotations

from torch import nn

from charlm.config import NetworkSection
from charlm.recurrent.build import build_stack
from charlm.recurrent.stack import Stack


def embedding_size(config: NetworkSection) -> int:
    """The size of a learned embedding: the setting, or 64, or a smaller hidden size."""
    return config.embedding_size or min(config.hidden_size, 64)


def build_layers(config: NetworkSection, input_size: int, *, bidirectional: bool) -> Stack:
    """The recurrent layers of a model, with freshly drawn weights."""
    return build_stack(
        config.cell,
        config.backend,
        input_size=input_size,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        bidirectional=bidirectional,
        dropout=config.dropout,
        weight_dropout=config.weight_dropout,
    )


def narrow_embedding(embedding: nn.Embedding | None, config: NetworkSection) -> None:
    """With the initialisation "torch", draw an embedding from +-0.1, not with deviation 1."""
    if embedding is not None and config.initialisation == "torch":
        nn.init.uniform_(embedding.weight, -0.1, 0.1)
