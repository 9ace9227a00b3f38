"""The initialisations of weights, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn

from charlm.recurrent.cell import Recurrent, recurrent_weights


def reset_book(module: nn.Module) -> None:
    """Draw the weights from a normal distribution of standard deviation 0.01; biases are 0.

    Dive into Deep Learning 0.17, section 8.5.1.
    """
    for name, parameter in module.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=0.01)


def reset_glorot(module: nn.Module) -> None:
    """Draw the weights as Keras does.

    Hidden-to-hidden weights are orthogonal (Saxe et al. 2014), embeddings uniform in +-0.05, other
    weights uniform with a bound from the numbers of inputs and outputs (Glorot and Bengio 2010).
    Biases are 0, except 1 for the forget gate of an LSTM (Jozefowicz et al. 2015).
    """
    recurrent = {module.get_parameter(name) for name in recurrent_weights(module)}
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if isinstance(part, nn.Embedding | nn.EmbeddingBag):
                nn.init.uniform_(parameter, -0.05, 0.05)
            elif parameter in recurrent:
                nn.init.orthogonal_(parameter)
            elif parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
    for part in module.modules():
        if isinstance(part, Recurrent) and (forget_bias := part.forget_bias()) is not None:
            nn.init.ones_(forget_bias)


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {
    "torch": lambda _: None,  # as the modules drew them, the recurrent ones from +-1/sqrt(H)
    "book": reset_book,
    "glorot": reset_glorot,
}


def initialise(name: str, parts: Iterable[nn.Module | None]) -> None:
    """Draw the weights of a model's parts, in this order, by the initialisation of that name."""
    INITIALISATIONS[name](nn.ModuleList(part for part in parts if part is not None))
