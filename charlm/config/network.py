"""The recurrent layers and what is around them: what the models of all tasks have in common."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.checks import check, check_at_most, check_choice, check_part, check_positive

CELLS = ("rnn", "rnn-relu", "gru", "gru-reset-before", "lstm", "lstm-peephole", "jordan")
SCRATCH_ONLY = {
    "gru-reset-before": "nn.GRU resets after the product",
    "lstm-peephole": "nn.LSTM has no peepholes",
    "jordan": "torch has no Jordan network",
}
INITIALISATIONS = ("torch", "book", "glorot")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Recurrent layers, their input, and dropout."""

    cell: str = "lstm"
    """the recurrent cell: rnn (tanh), rnn-relu, gru (reset after the product, as torch),
    gru-reset-before (as the book and the first paper), lstm, lstm-peephole, jordan"""
    backend: str = "torch"
    """torch: nn.RNN, nn.GRU, nn.LSTM; scratch: the equations, step by step"""
    hidden_size: int = 384
    """units of each recurrent layer"""
    num_layers: int = 1
    embedding_size: int | None = None
    """features of a learned embedding; None: 64, or ``hidden_size`` where that is less"""
    initialisation: str = "torch"
    """torch: uniform in +-1/sqrt(hidden_size); book: normal with deviation 0.01, biases 0;
    glorot: as Keras, orthogonal where the past goes through"""
    input_dropout: float = 0.05
    """probability, on the embedded input; the same units at every step"""
    dropout: float = 0.3
    """probability, between recurrent layers; the same units at every step"""
    output_dropout: float = 0.5
    """probability, before the head; the same units at every step"""
    weight_dropout: float = 0.3
    """probability, on the hidden-to-hidden weights (Merity et al. 2018), once per batch"""

    def __post_init__(self) -> None:
        check_choice("model.cell", self.cell, CELLS)
        check_choice("model.backend", self.backend, ("torch", "scratch"))
        check_choice("model.initialisation", self.initialisation, INITIALISATIONS)
        for name in ("hidden_size", "num_layers", "embedding_size"):
            check_positive(f"model.{name}", getattr(self, name))
            limit = 100 if name == "num_layers" else 1_000_000
            check_at_most(f"model.{name}", getattr(self, name), limit)
        for name in ("input_dropout", "dropout", "output_dropout", "weight_dropout"):
            check_part(f"model.{name}", getattr(self, name))
        check(
            self.backend == "scratch" or self.cell not in SCRATCH_ONLY,
            f"the cell {self.cell} has no torch layer: {SCRATCH_ONLY.get(self.cell)}",
            "add --backend scratch, or take another --cell",
        )
