"""The model settings that all tasks share: recurrent layers, their input, dropout."""

from __future__ import annotations

from dataclasses import dataclass

from charlm.config.settings import PROBABILITY, SIZE, Section, check, setting
from charlm.recurrent.cells import CELLS, MOGRIFIER_ROUNDS

INITIALISATIONS = ("torch", "book", "glorot")


@dataclass(frozen=True, kw_only=True)
class NetworkSection(Section, section="model"):
    """Recurrent layers, their input, and dropout."""

    cell: str = setting(
        "lstm",
        "The recurrent cell; docs/cells.md describes each. gru applies the reset gate after the "
        "matrix product, as torch does; gru-reset-before applies it before, as Dive into Deep "
        "Learning does. lstm-layernorm and gru-layernorm normalise in the cell (Ba et al. 2016).",
        option="--cell",
        choices=CELLS,
    )
    backend: str = setting(
        "auto",
        "The implementation of the recurrent layers. torch: nn.RNN, nn.GRU or nn.LSTM. scratch: "
        "charlm's own layers. auto: the faster one for the cell and the device, chosen when the "
        "run is made.",
        option="--backend",
        choices=("auto", "scratch", "torch"),
    )
    hidden_size: int = setting(
        384, "Hidden units of each recurrent layer.", option="--hidden-size", **SIZE
    )
    num_layers: int = setting(
        1, "Number of recurrent layers.", option="--num-layers", at_least=1, at_most=100
    )
    residual: bool = setting(
        False, "Add the input of each layer to its output, except in the lowest layer."
    )
    skip: bool = setting(
        False,
        "Every layer also sees the embedded input, and the output layer sees all layers (Graves "
        "2013).",
    )
    mogrifier_rounds: int = setting(
        MOGRIFIER_ROUNDS,
        "With the cell mogrifier, how often input and state gate each other in a step. 0 makes it "
        "an lstm.",
        at_least=0,
        at_most=100,
    )
    mogrifier_rank: int | None = setting(
        None,
        "With the cell mogrifier, the rank of the gating matrices; a small one has fewer "
        "parameters.",
        none_means="whole matrices",
        **SIZE,
    )
    embedding_size: int | None = setting(
        None,
        "Size of a learned embedding.",
        none_means="64, or hidden_size if that is smaller",
        **SIZE,
    )
    initialisation: str = setting(
        "torch",
        "Initial weights. torch: uniform in +-1/sqrt(hidden_size). book: normal with standard "
        "deviation 0.01, biases 0. glorot: like Keras, with orthogonal hidden-to-hidden weights.",
        choices=INITIALISATIONS,
    )
    input_dropout: float = setting(
        0.05,
        "Dropout probability on the embedded input. Each sequence of a batch keeps one mask over "
        "all steps.",
        **PROBABILITY,
    )
    dropout: float = setting(
        0.3,
        "Dropout probability between recurrent layers, with one mask over all steps.",
        **PROBABILITY,
    )
    output_dropout: float = setting(
        0.5,
        "Dropout probability before the output layer, with one mask over all steps.",
        **PROBABILITY,
    )
    weight_dropout: float = setting(
        0.3,
        "Dropout probability on the hidden-to-hidden weights, drawn once per batch (Merity et al. "
        "2018).",
        **PROBABILITY,
    )
    zoneout_hidden: float = setting(
        0.0,
        "Probability that a unit of the hidden state keeps its value in a step (zoneout, Krueger "
        "et al. 2017).",
        **PROBABILITY,
    )
    zoneout_cell: float = setting(
        0.0, "The same for a unit of the cell state of an LSTM.", **PROBABILITY
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = CELLS[self.cell]
        check(
            self.backend != "torch" or kind.torch is not None,
            f"the cell {self.cell} has no torch layer: {kind.why_not_torch}",
            "give --backend auto, or take another --cell",
        )
        check(
            self.backend != "torch" or not self.zoneout,
            "torch's layers have no zoneout",
            "give --backend auto, or leave zoneout out",
        )
        check(
            kind.cell_state or not self.zoneout_cell,
            f"the cell {self.cell} has no cell state for model.zoneout_cell",
            "give model.zoneout_hidden alone, or take --cell lstm",
        )

    @property
    def zoneout(self) -> bool:
        """Whether there is zoneout."""
        return bool(self.zoneout_hidden or self.zoneout_cell)

    def slow(self) -> dict[str, str]:
        """The settings that make training slower than usual, with the reason for each."""
        reason = "the layers compute one step at a time, without a fast kernel"
        slow = dict.fromkeys(("zoneout_hidden", "zoneout_cell"), reason)
        return slow if CELLS[self.cell].kernel else slow | {"cell": reason}

    def idle(self) -> dict[str, str]:
        """The settings that have no effect in this network, with the reason for each."""
        idle: dict[str, str] = {}
        if self.num_layers == 1:
            reason = "it works between recurrent layers, and the network has only one"
            idle |= dict.fromkeys(("dropout", "residual", "skip"), reason)
        if not CELLS[self.cell].recurrent:
            idle["weight_dropout"] = f"the cell {self.cell} has no hidden-to-hidden weights"
        for name, kind in CELLS.items():
            if name != self.cell:
                idle |= dict.fromkeys(kind.settings.values(), f"it is for the cell {name}")
        if getattr(self, "embedding", None) == "one-hot":
            idle["input_dropout"] = "the input is one-hot, so there is no embedding to drop"
        return idle


@dataclass(frozen=True, kw_only=True)
class SequenceNetworkSection(NetworkSection):
    """The network of a task that sees whole sequences, so it can read them in both directions."""

    hidden_size: int = setting(64, "Hidden units of each recurrent layer and direction.")
    bidirectional: bool = setting(
        True,
        "Read a sequence in both directions, or only forwards.",
        option="--bidirectional/--one-way",
    )
    word_dropout: float = setting(
        0.1, "Probability that a token is replaced by the unknown token in training.", **PROBABILITY
    )
